//! Aeron's IPC channel: an exclusive publication, a subscription that polls, both spinning.
//!
//! As its own samples have it: terms of 64 MiB (its default for IPC), memory touched beforehand, the
//! largest MTU, so that messages up to 16 KiB go whole, and an assembler for longer ones. The media
//! driver runs in the starter, in threads of its own that may run on both CPUs and mostly sleep.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusteron_client::{
    AERON_IPC_STREAM, Aeron, AeronContext, AeronExclusivePublication,
    AeronFragmentClosureAssembler, AeronHeader, AeronSubscription, Handlers, cformat,
};
use rusteron_media_driver::testing::EmbeddedDriver;

use crate::error::{BenchError, Result};
use crate::payload::{self, Source};
use crate::rivals::{Rival, ahead, refused};
use crate::transport::{Inlet, Outlet};
use crate::work::Task;

const PATIENCE: Duration = Duration::from_secs(10);
const TERM: usize = 64 << 20;
const MTU: usize = 65504;
/// Messages up to here go in one fragment.
const WHOLE: usize = 60 << 10;
/// Streams have numbers from here on, two for each measurement. What an ended process had open, the
/// driver keeps for seconds: on the same stream its subscription would hold up the next one's
/// publication, and its publication would feed the next one's subscription.
const FIRST_STREAM: i32 = 1000;
/// Fragments of one poll, at most.
const FRAGMENTS: usize = 256;

/// A media driver.
pub(crate) struct Driver(EmbeddedDriver);

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.dir())
    }
}

impl Driver {
    /// Starts it, with its files in the run's directory.
    ///
    /// # Errors
    /// When Aeron refuses.
    pub(crate) fn start(scratch: &Path) -> Result<Self> {
        let directory = scratch.join("aeron");
        EmbeddedDriver::launch_with(|context| {
            // Removed with the run's own directory, also where a signal ends the run.
            context.set_dir(&cformat!("{}", directory.display()))?;
            context.set_term_buffer_sparse_file(false)?;
            context.set_ipc_term_buffer_length(TERM)?;
            context.set_ipc_mtu_length(MTU)?;
            Ok(())
        })
        .map(Self)
        .map_err(refused("starting Aeron's media driver"))
    }

    /// Where clients find it.
    pub(crate) fn directory(&self) -> PathBuf {
        self.0.dir().into()
    }
}

/// Offers.
pub(crate) struct AeronOutlet {
    publication: AeronExclusivePublication,
    /// Where messages are made; nothing when they are claimed.
    private: Option<Source>,
    payload: usize,
    _client: Aeron,
}

/// Polls.
pub(crate) struct AeronInlet {
    subscription: AeronSubscription,
    assembler: Option<AeronFragmentClosureAssembler>,
}

/// Opens this process's two ends.
///
/// # Errors
/// When Aeron refuses.
pub(crate) fn ends(task: &Task, starter: bool) -> Result<(AeronOutlet, AeronInlet)> {
    let failed = refused("connecting to Aeron");
    let context = AeronContext::new().map_err(&failed)?;
    let directory = task.directory.to_string_lossy();
    context.set_dir(&cformat!("{directory}")).map_err(&failed)?;
    context.set_pre_touch_mapped_memory(true).map_err(&failed)?;
    let client = Aeron::new(&context).map_err(&failed)?;
    client.start().map_err(&failed)?;
    let (forth, back) = (FIRST_STREAM + 2 * task.nth, FIRST_STREAM + 2 * task.nth + 1);
    let (out, back) = if starter { (forth, back) } else { (back, forth) };
    let publication = client
        .async_add_exclusive_publication(AERON_IPC_STREAM, out)
        .and_then(|adding| adding.poll_blocking(PATIENCE))
        .map_err(&failed)?;
    let subscription = client
        .async_add_subscription(AERON_IPC_STREAM, back, Handlers::NONE, Handlers::NONE)
        .and_then(|adding| adding.poll_blocking(PATIENCE))
        .map_err(&failed)?;
    let start = Instant::now();
    while !publication.is_connected() || !subscription.is_connected() {
        if start.elapsed() > PATIENCE {
            return Err(BenchError::Usage("Aeron did not connect the two processes".into()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let payload = task.work.payload();
    let assembler =
        (payload > WHOLE).then(AeronFragmentClosureAssembler::new).transpose().map_err(&failed)?;
    let private = (task.rival != Rival::AeronClaim).then(|| Source::new(payload, ahead(task.work)));
    Ok((
        AeronOutlet { publication, private, payload, _client: client },
        AeronInlet { subscription, assembler },
    ))
}

impl Outlet for AeronOutlet {
    #[inline]
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        for sequence in first..first + n as u64 {
            let Some(private) = &mut self.private else {
                claim(&self.publication, self.payload, sequence)?;
                continue;
            };
            let bytes = private.one(sequence);
            loop {
                match self.publication.offer(bytes) {
                    Ok(_) => break,
                    Err(error) if error.is_retryable() => std::hint::spin_loop(),
                    Err(error) => return Err(refused("offering to Aeron")(error)),
                }
            }
        }
        Ok(())
    }

    fn source(&mut self) -> Option<&mut Source> {
        self.private.as_mut()
    }
}

/// Writes a message where it lies.
#[inline]
fn claim(publication: &AeronExclusivePublication, len: usize, sequence: u64) -> Result<()> {
    loop {
        match publication.try_claim_owned(len) {
            Ok(mut claim) => {
                payload::write(claim.data(), sequence);
                return claim.commit().map(drop).map_err(refused("committing to Aeron"));
            }
            Err(error) if error.is_retryable() => std::hint::spin_loop(),
            Err(error) => return Err(refused("claiming from Aeron")(error)),
        }
    }
}

struct Check {
    expected: u64,
    got: usize,
    damaged: bool,
}

fn check(check: &mut Check, bytes: &[u8], _: AeronHeader) {
    check.damaged |= !payload::read(bytes, check.expected + check.got as u64);
    check.got += 1;
}

impl Inlet for AeronInlet {
    #[inline]
    fn receive(&mut self, expected: u64, max: usize) -> Result<usize> {
        let mut state = Check { expected, got: 0, damaged: false };
        while state.got == 0 {
            match &mut self.assembler {
                None => self
                    .subscription
                    .poll_fn(
                        |bytes: &[u8], header| check(&mut state, bytes, header),
                        max.min(FRAGMENTS),
                    )
                    .map(drop),
                Some(assembler) => {
                    assembler.poll(&self.subscription, &mut state, check, 1).map(drop)
                }
            }
            .map_err(refused("polling Aeron"))?;
            if state.got == 0 {
                std::hint::spin_loop();
            }
        }
        if state.damaged {
            return Err(BenchError::Damaged { sequence: expected });
        }
        Ok(state.got)
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("Aeron has no open loop here".into()))
    }
}
