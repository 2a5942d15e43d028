//! A report for the eye: a row a field, in the report's own order.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A report read back from its JSON: fields in order, which `serde_json::Value` does not keep.
#[derive(Debug)]
enum Node {
    Fields(Vec<(String, Node)>),
    Leaf(String),
}

/// Lays out a report given as JSON.
///
/// # Errors
/// When the text is no JSON.
pub(crate) fn table(json: &str) -> serde_json::Result<Table> {
    let report: Node = serde_json::from_str(json)?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    rows(&mut table, "", report);
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    Ok(table)
}

fn rows(table: &mut Table, path: &str, node: Node) {
    match node {
        Node::Leaf(text) => {
            table.add_row([path, &text]);
        }
        Node::Fields(fields) => {
            for (name, node) in fields {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                rows(table, &path, node);
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a report")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Leaf(if value { "yes" } else { "no" }.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Leaf(grouped(&value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Leaf(grouped(&value.to_string())))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Leaf(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let (mut leaves, mut fields) = (Vec::new(), Vec::new());
        while let Some(item) = seq.next_element()? {
            match item {
                Node::Leaf(text) => leaves.push(text),
                item => fields.push((fields.len().to_string(), item)),
            }
        }
        // A report's arrays are all numbers, or all objects.
        Ok(if fields.is_empty() { Node::Leaf(leaves.join(", ")) } else { Node::Fields(fields) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Fields(fields))
    }
}

/// Groups the digits before the point by threes.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    let mut text = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if let Some(fraction) = fraction {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{grouped, table};

    #[test]
    fn digits_are_grouped_before_the_point_only() {
        assert_eq!(grouped("1234567.1234"), "1,234,567.1234");
        assert_eq!(grouped("100000"), "100,000");
        assert_eq!(grouped("999"), "999");
    }

    #[test]
    fn fields_keep_their_order_and_their_path() {
        let text = table(
            r#"{"z":1,"a":{"mean":2.5,"max":3000},"cpus":[0,1],"ok":true,"c":[{"n":4},{"n":5}]}"#,
        )
        .unwrap();
        let words: Vec<String> =
            text.to_string().split_whitespace().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "z", "1", "a.mean", "2.5", "a.max", "3,000", "cpus", "0,", "1", "ok", "yes",
                "c.0.n", "4", "c.1.n", "5"
            ]
        );
    }
}
