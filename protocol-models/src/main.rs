use protocol_models::models;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    for s in models::all() {
        if a.len() > 1 && a[1] != s.name { continue; }
        if a.len() <= 2 {
        let r = s.run(2);
        println!("{} {} {:.1}s", s.name, r.states, r.seconds);
        for x in &r.scenarios { println!("   {} {} d{} {:.1}s {:?} {}", x.name, x.states, x.depth, x.seconds, x.broken, x.trace.clone().unwrap_or_default()); }
        }
        for x in s.run_mutants(2) { println!("   M {} {} d{} {:.1}s {:?}", x.name, x.states, x.depth, x.seconds, x.broken); }
    }
}
