//! The table of steps. A new step is a new row, and nothing else.

use std::path::Path;
use std::process::Command;

/// Which command a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Lint,
    Test,
}

/// One thing to run.
#[derive(Debug)]
pub(crate) struct Step {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    /// What it shows, for people.
    pub(crate) about: &'static str,
    /// Arguments of cargo, separated by spaces.
    pub(crate) cargo: &'static str,
    /// Further environment.
    pub(crate) env: &'static [(&'static str, &'static str)],
}

/// Every step, in the order in which they run: what fails soonest first.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "fmt",
        group: Group::Lint,
        about: "the formatting is rustfmt's",
        cargo: "fmt --all --check",
        env: &[],
    },
    Step {
        name: "clippy",
        group: Group::Lint,
        about: "no warning, in no target",
        cargo: "clippy --workspace --all-targets -- -D warnings",
        env: &[],
    },
    Step {
        name: "rustdoc",
        group: Group::Lint,
        about: "no warning, no dead link in the documentation",
        cargo: "doc --workspace --no-deps",
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Step {
        name: "workspace",
        group: Group::Test,
        about: "unit, integration, process and doc tests; builds the examples",
        // The models are far too slow without optimization: they have a step of their own.
        cargo: "test --workspace --exclude protocol-models --no-fail-fast",
        env: &[],
    },
    Step {
        name: "models",
        group: Group::Test,
        about: "explicit-state models of the protocol, and their mutants",
        cargo: "test --release -p protocol-models --no-fail-fast",
        env: &[],
    },
    Step {
        name: "loom",
        group: Group::Test,
        about: "loom models of the code that ships, and their mutants",
        cargo: "run --release -p loom-tests -- run --mutants",
        env: &[],
    },
    Step {
        name: "crash",
        group: Group::Test,
        about: "a death at every named crash point of the ring, in every mode",
        cargo: "run --release -p loom-tests -- crashes",
        env: &[],
    },
    Step {
        name: "torture",
        group: Group::Test,
        about: "200 kills and more of processes at work, until every crash point was hit",
        cargo: "run --release -p shm-tests --bin torture -- --kills 200 --every-point",
        env: &[],
    },
    Step {
        name: "mutate",
        group: Group::Test,
        about: "20,000 segments changed behind everybody's back: no panic, crash or hang",
        // Not optimized: an overflow is a panic then, and it was built for the tests anyway.
        cargo: "run -p shm-tests --bin mutate -- --segments 20000",
        env: &[],
    },
];

impl Step {
    /// The command, to be run in the workspace's root.
    pub(crate) fn command(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(self.cargo.split_whitespace()).envs(self.env.iter().copied());
        command.current_dir(root());
        command
    }

    /// The command as one would type it.
    pub(crate) fn command_line(&self) -> String {
        let mut line = String::new();
        for (name, value) in self.env {
            line += &format!("{name}=\"{value}\" ");
        }
        line + "cargo " + self.cargo
    }
}

/// The workspace's root.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
