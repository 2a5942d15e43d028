//! Calls: a request out, a reply back, told apart by number.
//!
//! All replies to a process come in one ring, of which its client is the only reader. A reply whose
//! call is no longer waited for is late: it is discarded and counted.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{CallError, ContextError};
use super::plan::TaskSpec;
use super::request::{Outcome, ReplyHead, RequestHead};
use super::tether::{SLICE, Tether};
use crate::error::{GetError, OpenError, PutError};
use crate::queue::{Consumer, Producer, QueueBackend, RecordKind, RingQueue, Wait};
use crate::shm::os::monotonic_ns;

/// A call whose answer is still to be waited for. Dropped, its reply is discarded when it comes.
#[derive(Debug)]
pub struct PendingCall<A> {
    ticket: Ticket,
    service: Arc<str>,
    method: Arc<str>,
    /// When it was sent, and until when it is waited for.
    sent: Instant,
    deadline: Option<Instant>,
    answer: PhantomData<fn() -> A>,
}

impl<A> PendingCall<A> {
    /// The service that was called.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    fn undecodable(&self, what: String) -> CallError {
        let (service, method) = (self.service.to_string(), self.method.to_string());
        CallError::Undecodable { service, method, what }
    }

    fn deadline_exceeded(&self) -> CallError {
        let (service, method) = (self.service.to_string(), self.method.to_string());
        CallError::DeadlineExceeded { service, method }
    }

    fn service_gone(&self, why: impl ToString) -> CallError {
        CallError::ServiceGone { service: self.service.to_string(), why: why.to_string() }
    }
}

impl<A: DeserializeOwned> PendingCall<A> {
    /// What a reply means to the caller.
    fn answer(&self, outcome: Outcome, payload: &[u8]) -> Result<A, CallError> {
        let (service, method) = (|| self.service.to_string(), || self.method.to_string());
        Err(match outcome {
            Outcome::Done => match postcard::from_bytes(payload) {
                Ok(answer) => return Ok(answer),
                Err(error) => self.undecodable(format!("the answer: {error}")),
            },
            Outcome::NoSuchMethod(have) => {
                CallError::NoSuchMethod { service: service(), method: method(), have }
            }
            Outcome::Handler { code, message } => {
                CallError::Handler { service: service(), method: method(), code, message }
            }
            Outcome::BadRequest(what) => self.undecodable(format!("the request: {what}")),
            Outcome::DeadlineExceeded => self.deadline_exceeded(),
            Outcome::TooLarge { len, max } => {
                self.undecodable(format!("the answer has {len} bytes, but {max} is the most"))
            }
        })
    }
}

/// The number of a call, which tells its client when nobody waits any more.
#[derive(Debug)]
struct Ticket {
    call: u64,
    abandoned: Arc<Abandoned>,
    settled: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            let mut calls = self.abandoned.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.push(self.call);
            // RELAXED: a hint; the list has its lock.
            self.abandoned.any.store(true, Ordering::Relaxed);
        }
    }
}

/// Calls that were dropped, and that the client has not heard of yet.
#[derive(Debug, Default)]
struct Abandoned {
    any: AtomicBool,
    calls: Mutex<Vec<u64>>,
}

struct Server {
    name: Arc<str>,
    queue: RingQueue,
    producer: Producer,
    /// Methods called so far.
    methods: Vec<Arc<str>>,
}

impl Server {
    fn method(&mut self, name: &str) -> Arc<str> {
        let known = self.methods.iter().find(|known| &***known == name);
        known.cloned().unwrap_or_else(|| {
            self.methods.push(name.into());
            name.into()
        })
    }
}

/// The calling side of a process.
pub(crate) struct Client {
    place: u32,
    servers: Vec<Server>,
    replies: Consumer,
    /// Calls begin where no earlier attempt's did.
    next: u64,
    /// Calls that are waited for, each with its reply, where that came while another was waited for.
    waiting: BTreeMap<u64, Option<(Outcome, Vec<u8>)>>,
    abandoned: Arc<Abandoned>,
    epoch: Epoch,
    late: u64,
    buffer: Vec<u8>,
}

/// One moment on both clocks, which are the same, so that one look at it is enough.
struct Epoch {
    instant: Instant,
    monotonic_ns: u64,
}

impl Epoch {
    fn ns_at(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.instant).as_nanos();
        self.monotonic_ns.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

impl Client {
    pub(crate) fn open(spec: &TaskSpec, tether: &Tether) -> Result<Option<Self>, OpenError> {
        let Some(replies) = &spec.replies else { return Ok(None) };
        let refused = |error: String| OpenError::Io {
            path: spec.directory.clone(),
            doing: "opening the rings of a service",
            source: std::io::Error::other(error),
        };
        let mut servers = Vec::new();
        for (name, ring) in &spec.services {
            let queue = tether.open(ring)?;
            let producer = queue.producer().map_err(|error| refused(error.to_string()))?;
            servers.push(Server {
                name: name.as_str().into(),
                queue,
                producer,
                methods: Vec::new(),
            });
        }
        let replies =
            tether.open(replies)?.consumer().map_err(|error| refused(error.to_string()))?;
        Ok(Some(Self {
            place: spec.place,
            servers,
            replies,
            next: u64::from(spec.attempt) << 40,
            waiting: BTreeMap::new(),
            abandoned: Arc::default(),
            epoch: Epoch { instant: Instant::now(), monotonic_ns: monotonic_ns() },
            late: 0,
            buffer: Vec::new(),
        }))
    }

    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    pub(crate) fn send<Q: Serialize + ?Sized, A>(
        &mut self,
        tether: &mut Tether,
        service: &str,
        method: &str,
        request: &Q,
        timeout: Duration,
    ) -> Result<PendingCall<A>, CallError> {
        self.forget_abandoned();
        let server = self.servers.iter_mut().find(|server| &*server.name == service);
        let server = server.ok_or_else(|| CallError::undeclared(service))?;
        self.next += 1;
        let call = self.next;
        let sent = Instant::now();
        let deadline = sent.checked_add(timeout);
        let sent_ns = self.epoch.ns_at(sent);
        let head = RequestHead {
            call,
            client: self.place,
            participant: tether.segment().participant_id(),
            sent_ns,
            deadline_ns: deadline.map_or(0, |_| {
                sent_ns.saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
            }),
            method,
        };
        let undecodable = |what: String| CallError::Undecodable {
            service: service.to_owned(),
            method: method.to_owned(),
            what,
        };
        self.buffer.clear();
        let bytes = postcard::to_extend(&head, std::mem::take(&mut self.buffer))
            .and_then(|bytes| postcard::to_extend(request, bytes))
            .map_err(|error| undecodable(error.to_string()))?;
        let late = || CallError::DeadlineExceeded {
            service: service.to_owned(),
            method: method.to_owned(),
        };
        let gone = |why: String| CallError::ServiceGone { service: service.to_owned(), why };
        // Without a look at the clock, unless there is no room.
        let mut wait = Wait::No;
        let put = loop {
            match server.producer.put(RecordKind::RAW, &bytes, wait) {
                Ok(()) => break Ok(()),
                Err(PutError::Timeout | PutError::Full) => {
                    if let Err(error) = tether.look() {
                        break Err(gone(error.to_string()));
                    }
                    if is_over(deadline) {
                        break Err(late());
                    }
                    wait = slice(Instant::now(), deadline);
                }
                Err(error @ PutError::TooLarge { .. }) => {
                    break Err(undecodable(format!("the request: {error}")));
                }
                Err(error) => break Err(gone(error.to_string())),
            }
        };
        self.buffer = bytes;
        put?;
        self.waiting.insert(call, None);
        Ok(PendingCall {
            ticket: Ticket { call, abandoned: Arc::clone(&self.abandoned), settled: false },
            service: Arc::clone(&server.name),
            method: server.method(method),
            sent,
            deadline,
            answer: PhantomData,
        })
    }

    pub(crate) fn wait<A: DeserializeOwned>(
        &mut self,
        tether: &mut Tether,
        mut call: PendingCall<A>,
    ) -> Result<A, CallError> {
        let answer = self.wait_for_answer(tether, &call);
        self.waiting.remove(&call.ticket.call);
        call.ticket.settled = true;
        answer
    }

    fn wait_for_answer<A: DeserializeOwned>(
        &mut self,
        tether: &mut Tether,
        call: &PendingCall<A>,
    ) -> Result<A, CallError> {
        let number = call.ticket.call;
        if let Some((outcome, payload)) = self.waiting.get_mut(&number).and_then(Option::take) {
            return call.answer(outcome, &payload);
        }
        let mut wait = slice(call.sent, call.deadline);
        loop {
            match self.replies.hold(wait) {
                Ok((bytes, _)) => {
                    let answer = match postcard::take_from_bytes::<ReplyHead>(bytes) {
                        Ok((head, payload)) if head.call == number => {
                            Some(call.answer(head.outcome, payload))
                        }
                        reply => {
                            take_reply(reply.ok(), &mut self.waiting, &mut self.late);
                            None
                        }
                    };
                    self.replies.ack_held();
                    match answer {
                        Some(answer) => return answer,
                        None => self.forget_abandoned(),
                    }
                }
                Err(GetError::Timeout | GetError::Empty) => {
                    if is_over(call.deadline) {
                        return Err(call.deadline_exceeded());
                    }
                    tether.look().map_err(|error| match error {
                        ContextError::Aborted(why) => call.service_gone(why),
                        error => call.service_gone(error),
                    })?;
                    let server = self.servers.iter().find(|server| server.name == call.service);
                    if server.is_some_and(|server| server.queue.is_closed()) {
                        return Err(call.service_gone("it takes no requests any more"));
                    }
                    wait = slice(Instant::now(), call.deadline);
                }
                Err(error) => return Err(call.service_gone(error)),
            }
        }
    }

    /// Waits no more for the calls that were dropped.
    #[inline]
    fn forget_abandoned(&mut self) {
        // RELAXED: a hint; the list has its lock.
        if !self.abandoned.any.load(Ordering::Relaxed) {
            return;
        }
        self.abandoned.any.store(false, Ordering::Relaxed); // RELAXED: as above.
        let mut calls = self.abandoned.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for call in calls.drain(..) {
            // A reply that is here already was for nobody.
            self.late += u64::from(self.waiting.remove(&call).flatten().is_some());
        }
    }
}

/// Keeps a reply that somebody waits for; counts one that nobody does, or that makes no sense.
fn take_reply(
    reply: Option<(ReplyHead, &[u8])>,
    waiting: &mut BTreeMap<u64, Option<(Outcome, Vec<u8>)>>,
    late: &mut u64,
) {
    let place =
        reply.and_then(|(head, payload)| Some((waiting.get_mut(&head.call)?, head, payload)));
    match place {
        Some((place, head, payload)) => *place = Some((head.outcome, payload.to_vec())),
        None => *late += 1,
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// Until the deadline, but a slice from now at most.
fn slice(now: Instant, deadline: Option<Instant>) -> Wait {
    let slice = now + SLICE;
    Wait::Until(deadline.map_or(slice, |deadline| deadline.min(slice)))
}
