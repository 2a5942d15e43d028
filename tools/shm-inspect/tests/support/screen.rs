//! The program on a pseudo-terminal, and what is to be seen there.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use portable_pty::{Child, CommandBuilder, PtySize, native_pty_system};

use super::{Place, WATCHDOG, wait_until};

/// A program on a terminal of its own, killed when dropped.
pub(crate) struct Screen {
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    pub(crate) terminal: Arc<Mutex<vt100::Parser>>,
    _pty: Box<dyn portable_pty::MasterPty + Send>,
}

impl Screen {
    pub(crate) fn start(place: &Place, arguments: &[&str], colour: bool) -> Self {
        let size = PtySize { rows: 24, cols: 150, pixel_width: 0, pixel_height: 0 };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_shm-inspect"));
        command.arg("--dir");
        command.arg(place.path());
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        if !colour {
            command.env("NO_COLOR", "1");
        }
        let child = pty.slave.spawn_command(command).unwrap();
        drop(pty.slave);
        let terminal = Arc::new(Mutex::new(vt100::Parser::new(size.rows, size.cols, 0)));
        let mut reader = pty.master.try_clone_reader().unwrap();
        let to = Arc::clone(&terminal);
        // Ends with the program: the terminal then has no other end.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut bytes) {
                to.lock().unwrap().process(&bytes[..read]);
            }
        });
        let keys = pty.master.take_writer().unwrap();
        Self { child, keys, terminal, _pty: pty.master }
    }

    pub(crate) fn text(&self) -> String {
        self.terminal.lock().unwrap().screen().contents()
    }

    pub(crate) fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub(crate) fn wait_for(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let start = std::time::Instant::now();
        while !condition(&self.text()) {
            assert!(start.elapsed() < WATCHDOG, "no {what} on the screen:\n{}", self.text());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Waits for its end; returns the exit code.
    pub(crate) fn end(mut self) -> u32 {
        let mut code = None;
        wait_until("the program ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().exit_code()
    }

    /// The names of the rings, from the top.
    pub(crate) fn rings(&self) -> Vec<String> {
        let text = self.text();
        let rows = text.lines().skip_while(|line| !line.starts_with("RING"));
        let names = rows.skip(1).take_while(|line| line.contains(':'));
        names.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
