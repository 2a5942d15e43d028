//! Calls: a request out, a reply back, told apart by number.
//!
//! All replies to a process come in one ring, of which its client is the only reader. A reply whose
//! call is no longer waited for is late: it is discarded and counted.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::ContextError;
use super::plan::TaskSpec;
use super::tether::{SLICE, Tether};
use crate::error::{GetError, OpenError, PutError};
use crate::queue::{Consumer, Producer, QueueBackend, RecordKind, RingQueue, Wait};
use crate::shm::os::monotonic_ns;

/// A request, in front of its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestHead<'a> {
    pub(crate) call: u64,
    /// Place of the caller in the plan.
    pub(crate) client: u32,
    /// The caller among the participants of the segment.
    pub(crate) participant: u16,
    /// On the monotonic clock, in nanoseconds.
    pub(crate) sent_ns: u64,
    /// On the same; 0 for none.
    pub(crate) deadline_ns: u64,
    pub(crate) method: &'a str,
}

/// A reply, in front of its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplyHead {
    pub(crate) call: u64,
    pub(crate) outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    NoSuchMethod(Vec<String>),
    Handler { code: i32, message: String },
    BadRequest(String),
    DeadlineExceeded,
    TooLarge { len: u64, max: u64 },
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service has no such method. Permanent.
    #[error("{service} has no method {method:?}; it has {have:?}")]
    NoSuchMethod {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// Those that it has.
        have: Vec<String>,
    },
    /// The handler answered with an error.
    #[error("{service}.{method}: {message} (code {code})")]
    Handler {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// The handler's own code.
        code: i32,
        /// The handler's message.
        message: String,
    },
    /// The time was over before there was an answer. Transient.
    #[error("{service}.{method}: no answer within the deadline")]
    DeadlineExceeded {
        /// The service.
        service: String,
        /// The method.
        method: String,
    },
    /// The service has gone, or the job is given up. Permanent.
    #[error("{service} is gone: {why}")]
    ServiceGone {
        /// The service.
        service: String,
        /// Why.
        why: String,
    },
    /// The task did not say that it uses this service ([`super::NodeRef::uses`]). Permanent.
    #[error("the task does not say that it uses the service {service:?}")]
    Undeclared {
        /// The service.
        service: String,
    },
    /// Request or reply is not what the other side expects, or does not fit. Permanent.
    #[error("{service}.{method}: {what}")]
    Undecodable {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// What is wrong.
        what: String,
    },
}

impl CallError {
    pub(crate) fn undeclared(service: &str) -> Self {
        Self::Undeclared { service: service.to_owned() }
    }
}

/// A call whose answer is still to be waited for. Dropped, its reply is discarded when it comes.
#[derive(Debug)]
pub struct PendingCall<A> {
    call: u64,
    service: Arc<str>,
    method: Box<str>,
    deadline: Option<Instant>,
    alive: Alive,
    answer: PhantomData<fn() -> A>,
}

#[derive(Debug)]
struct Alive(Arc<AtomicBool>);

impl Drop for Alive {
    fn drop(&mut self) {
        // RELAXED: one thread's.
        self.0.store(false, Ordering::Relaxed);
    }
}

impl<A> PendingCall<A> {
    /// The service that was called.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }
}

struct Server {
    name: Arc<str>,
    queue: RingQueue,
    producer: Producer,
}

/// The calling side of a process.
pub(crate) struct Client {
    place: u32,
    servers: Vec<Server>,
    replies: Consumer,
    /// Calls begin where no earlier attempt's did.
    next: u64,
    waiting: HashMap<u64, Waiting>,
    late: u64,
    buffer: Vec<u8>,
}

struct Waiting {
    alive: Arc<AtomicBool>,
    /// The reply, once it is here.
    reply: Option<(Outcome, Vec<u8>)>,
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
            servers.push(Server { name: name.as_str().into(), queue, producer });
        }
        let replies =
            tether.open(replies)?.consumer().map_err(|error| refused(error.to_string()))?;
        Ok(Some(Self {
            place: spec.place,
            servers,
            replies,
            next: u64::from(spec.attempt) << 40,
            waiting: HashMap::new(),
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
        let server = self.servers.iter_mut().find(|server| &*server.name == service);
        let server = server.ok_or_else(|| CallError::undeclared(service))?;
        self.next += 1;
        let call = self.next;
        let deadline = Instant::now().checked_add(timeout);
        let sent_ns = monotonic_ns();
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
        let sent = loop {
            match server.producer.put(RecordKind::RAW, &bytes, slice(deadline)) {
                Ok(()) => break Ok(()),
                Err(PutError::Timeout | PutError::Full) => {
                    if let Err(error) = tether.look() {
                        break Err(gone(error.to_string()));
                    }
                    if is_over(deadline) {
                        break Err(late());
                    }
                }
                Err(error @ PutError::TooLarge { .. }) => {
                    break Err(undecodable(format!("the request: {error}")));
                }
                Err(error) => break Err(gone(error.to_string())),
            }
        };
        self.buffer = bytes;
        sent?;
        let alive = Arc::new(AtomicBool::new(true));
        self.waiting.insert(call, Waiting { alive: Arc::clone(&alive), reply: None });
        Ok(PendingCall {
            call,
            service: Arc::clone(&server.name),
            method: method.into(),
            deadline,
            alive: Alive(alive),
            answer: PhantomData,
        })
    }

    pub(crate) fn wait<A: DeserializeOwned>(
        &mut self,
        tether: &mut Tether,
        call: PendingCall<A>,
    ) -> Result<A, CallError> {
        let reply = self.wait_for_reply(tether, &call);
        self.waiting.remove(&call.call);
        drop(call.alive);
        let (service, method) = (call.service.to_string(), call.method.into_string());
        let (outcome, bytes) = reply?;
        let undecodable = |service, method, what| CallError::Undecodable { service, method, what };
        Err(match outcome {
            Outcome::Done => match postcard::from_bytes(&bytes) {
                Ok(answer) => return Ok(answer),
                Err(error) => undecodable(service, method, format!("the answer: {error}")),
            },
            Outcome::NoSuchMethod(have) => CallError::NoSuchMethod { service, method, have },
            Outcome::Handler { code, message } => {
                CallError::Handler { service, method, code, message }
            }
            Outcome::BadRequest(what) => {
                undecodable(service, method, format!("the request: {what}"))
            }
            Outcome::DeadlineExceeded => CallError::DeadlineExceeded { service, method },
            Outcome::TooLarge { len, max } => {
                let what = format!("the answer has {len} bytes, but {max} is the most");
                undecodable(service, method, what)
            }
        })
    }

    fn wait_for_reply<A>(
        &mut self,
        tether: &mut Tether,
        call: &PendingCall<A>,
    ) -> Result<(Outcome, Vec<u8>), CallError> {
        loop {
            if let Some(reply) =
                self.waiting.get_mut(&call.call).and_then(|waiting| waiting.reply.take())
            {
                return Ok(reply);
            }
            let got = match self.replies.hold(slice(call.deadline)) {
                Ok((bytes, _)) => {
                    let (waiting, late) = (&mut self.waiting, &mut self.late);
                    take_reply(bytes, waiting, late);
                    self.replies.ack_held();
                    continue;
                }
                Err(error) => error,
            };
            let gone =
                |why: String| CallError::ServiceGone { service: call.service.to_string(), why };
            match got {
                GetError::Timeout | GetError::Empty => {
                    if is_over(call.deadline) {
                        let (service, method) = (call.service.to_string(), call.method.to_string());
                        return Err(CallError::DeadlineExceeded { service, method });
                    }
                    match tether.look() {
                        Err(ContextError::Aborted(why)) => return Err(gone(why)),
                        Err(error) => return Err(gone(error.to_string())),
                        Ok(()) => {}
                    }
                    let server = self.servers.iter().find(|server| server.name == call.service);
                    if server.is_some_and(|server| server.queue.is_closed()) {
                        return Err(gone("it takes no requests any more".into()));
                    }
                }
                error => return Err(gone(error.to_string())),
            }
        }
    }
}

/// Keeps a reply that somebody waits for.
fn take_reply(bytes: &[u8], waiting: &mut HashMap<u64, Waiting>, late: &mut u64) {
    let Ok((head, payload)) = postcard::take_from_bytes::<ReplyHead>(bytes) else {
        *late += 1;
        return;
    };
    match waiting.get_mut(&head.call) {
        // RELAXED: one thread's.
        Some(call) if call.alive.load(Ordering::Relaxed) => {
            call.reply = Some((head.outcome, payload.to_vec()));
        }
        _ => {
            waiting.remove(&head.call);
            *late += 1;
        }
    }
}

fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// Until the deadline, but a slice at most.
fn slice(deadline: Option<Instant>) -> Wait {
    let slice = Instant::now() + SLICE;
    Wait::Until(deadline.map_or(slice, |deadline| deadline.min(slice)))
}
