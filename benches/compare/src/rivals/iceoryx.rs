//! iceoryx2: publish and subscribe with a publisher that waits for room, and events.
//!
//! As its documentation has it for speed: samples loaned and written in place, read in place, the
//! subscriber polls.
#![allow(unsafe_code, reason = "loaned samples are handed out uninitialized")]

use std::path::Path;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::error::{BenchError, Result};
use crate::payload;
use crate::peers::Pair;
use crate::rivals::{capacity, refused};
use crate::transport::{Inlet, Outlet};
use crate::work::Task;

type Ipc = ipc::Service;

/// Publishes.
pub(crate) struct IceOutlet {
    publisher: Publisher<Ipc, [u8], ()>,
    payload: usize,
    _node: Node<Ipc>,
}

/// Subscribes.
pub(crate) struct IceInlet {
    subscriber: Subscriber<Ipc, [u8], ()>,
}

/// Where iceoryx2 puts what is not in the run's directory.
const ELSEWHERE: [&str; 2] = ["/dev/shm", "/tmp"];

/// What the names of this run's files start with: its directory's name, which no other run has.
fn prefix(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    format!("ringway-compare-{name}_")
}

/// A node whose files lie in the run's directory, or where they cannot, bear its name: iceoryx2's
/// own place is shared with others, and what a killed process leaves there stays.
pub(crate) fn node(task: &Task) -> Result<Node<Ipc>> {
    set_log_level(LogLevel::Error);
    let root = task.directory.join("iceoryx2");
    let named = refused("naming iceoryx2's files");
    let mut config = Config::default();
    config.global.set_root_path(
        &iceoryx2::prelude::Path::new(root.to_string_lossy().as_bytes()).map_err(&named)?,
    );
    config.global.prefix = FileName::new(prefix(&task.directory).as_bytes()).map_err(&named)?;
    let builder = NodeBuilder::new().config(&config);
    let builder = builder.signal_handling_mode(SignalHandlingMode::Disabled);
    builder.create::<Ipc>().map_err(refused("making an iceoryx2 node"))
}

/// Removes what killed processes of this run have left outside its directory.
pub(crate) fn remove_leftovers(directory: &Path) {
    let prefix = prefix(directory);
    for entry in ELSEWHERE.into_iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten() {
        let Ok(entry) = entry else { continue };
        if entry.file_name().to_string_lossy().starts_with(&prefix)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            eprintln!("ringway-compare: removing {}: {error}", entry.path().display());
        }
    }
}

/// A service's name, which no other run has.
pub(crate) fn name(task: &Task, direction: &str) -> Result<ServiceName> {
    let run = task.directory.file_name().unwrap_or_default().to_string_lossy();
    ServiceName::new(&format!("ringway-compare/{run}/{direction}"))
        .map_err(refused("naming an iceoryx2 service"))
}

/// Has the starter make the services, and the peer find them: where both make one at once, a
/// publisher can be left with no subscriber, and its packets go nowhere.
pub(crate) fn one_after_the_other<T>(
    pair: &Pair,
    starter: bool,
    open: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if !starter {
        pair.meet();
    }
    let opened = open()?;
    if starter {
        pair.meet();
    }
    // Nobody sends before all ports are there.
    pair.meet();
    Ok(opened)
}

/// Opens this process's two ends.
///
/// # Errors
/// When iceoryx2 refuses.
pub(crate) fn ends(pair: &Pair, task: &Task, starter: bool) -> Result<(IceOutlet, IceInlet)> {
    one_after_the_other(pair, starter, || open_ends(task, starter))
}

fn open_ends(task: &Task, starter: bool) -> Result<(IceOutlet, IceInlet)> {
    let node = node(task)?;
    let payload = task.work.payload();
    let open = |direction: &str| -> Result<_> {
        node.service_builder(&name(task, direction)?)
            .publish_subscribe::<[u8]>()
            .max_publishers(1)
            .max_subscribers(1)
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(capacity(payload))
            .open_or_create()
            .map_err(refused("opening an iceoryx2 service"))
    };
    let (out, back) = if starter { ("forth", "back") } else { ("back", "forth") };
    let subscriber = open(back)?
        .subscriber_builder()
        .create()
        .map_err(refused("making an iceoryx2 subscriber"))?;
    let publisher = open(out)?
        .publisher_builder()
        .initial_max_slice_len(payload)
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(refused("making an iceoryx2 publisher"))?;
    Ok((IceOutlet { publisher, payload, _node: node }, IceInlet { subscriber }))
}

impl Outlet for IceOutlet {
    #[inline]
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        for sequence in first..first + n as u64 {
            let mut sample = self
                .publisher
                .loan_slice_uninit(self.payload)
                .map_err(refused("loaning an iceoryx2 sample"))?;
            let bytes = sample.payload_mut();
            // SAFETY: as long and as aligned as the slice it is made from; a byte of a shared map
            // always has a value, and `write` reads none before it has written all.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<u8>(), bytes.len())
            };
            payload::write(bytes, sequence);
            // SAFETY: `write` has written every byte.
            let sample = unsafe { sample.assume_init() };
            sample.send().map_err(refused("sending an iceoryx2 sample"))?;
        }
        Ok(())
    }
}

impl Inlet for IceInlet {
    #[inline]
    fn receive(&mut self, expected: u64, _: usize) -> Result<usize> {
        loop {
            let sample = self.subscriber.receive().map_err(refused("receiving from iceoryx2"))?;
            let Some(sample) = sample else {
                std::hint::spin_loop();
                continue;
            };
            return if payload::read(sample.payload(), expected) {
                Ok(1)
            } else {
                Err(BenchError::Damaged { sequence: expected })
            };
        }
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("iceoryx2 has no open loop here".into()))
    }
}

/// Notifies.
pub(crate) struct EventOutlet {
    notifier: Notifier<Ipc>,
    _node: Node<Ipc>,
}

/// Listens, asleep.
pub(crate) struct EventInlet {
    listener: Listener<Ipc>,
}

/// Opens this process's ends of two event services.
///
/// # Errors
/// When iceoryx2 refuses.
pub(crate) fn events(pair: &Pair, task: &Task, starter: bool) -> Result<(EventOutlet, EventInlet)> {
    one_after_the_other(pair, starter, || open_events(task, starter))
}

fn open_events(task: &Task, starter: bool) -> Result<(EventOutlet, EventInlet)> {
    let node = node(task)?;
    let open = |direction: &str| -> Result<_> {
        node.service_builder(&name(task, direction)?)
            .event()
            .open_or_create()
            .map_err(refused("opening an iceoryx2 event"))
    };
    let (out, back) = if starter { ("wake", "woken") } else { ("woken", "wake") };
    let listener =
        open(back)?.listener_builder().create().map_err(refused("making an iceoryx2 listener"))?;
    let notifier =
        open(out)?.notifier_builder().create().map_err(refused("making an iceoryx2 notifier"))?;
    Ok((EventOutlet { notifier, _node: node }, EventInlet { listener }))
}

impl Outlet for EventOutlet {
    fn send(&mut self, _: u64, _: usize) -> Result<()> {
        self.notifier.notify().map(drop).map_err(refused("notifying through iceoryx2"))
    }
}

impl Inlet for EventInlet {
    fn receive(&mut self, _: u64, _: usize) -> Result<usize> {
        let mut woken = false;
        while !woken {
            self.listener
                .blocking_wait(|_| woken = true)
                .map_err(refused("waiting for an iceoryx2 event"))?;
        }
        Ok(1)
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("iceoryx2 has no open loop here".into()))
    }
}
