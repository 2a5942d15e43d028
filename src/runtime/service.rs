//! The serving side: methods by name, and the loop that hands requests to them.
//!
//! A request is held while it is handled, and acknowledged when its reply is in the caller's ring:
//! a killed instance's request goes to another one, or to its next attempt.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Client, PendingCall};
use super::context::Identity;
use super::error::{CallError, ContextError, TaskError};
use super::plan::TaskSpec;
use super::request::{Outcome, ReplyHead, RequestHead};
use super::tether::{Counters, Event, SLICE, Tether};
use crate::error::{GetError, PutError};
use crate::queue::{Consumer, Producer, RecordKind, Wait};
use crate::shm::os::monotonic_ns;

/// What a handler answers instead of a value: reaches the caller as [`CallError::Handler`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct HandlerError {
    /// A number that means something to the caller.
    pub code: i32,
    /// A text for people.
    pub message: String,
}

impl HandlerError {
    /// Makes one.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

type Handler = Box<dyn FnMut(&mut ServiceContext, &[u8], &mut Vec<u8>) -> Outcome + Send>;

/// The methods of one instance of a service. They may share state, which is the instance's own.
///
/// ```
/// use ringway::runtime::{HandlerError, Methods};
///
/// let methods = Methods::new()
///     .on("add", |_, (a, b): (i64, i64)| Ok(a + b))
///     .on("divide", |_, (a, b): (i64, i64)| {
///         a.checked_div(b).ok_or_else(|| HandlerError::new(1, "division by zero"))
///     });
/// assert_eq!(methods.names().collect::<Vec<_>>(), ["add", "divide"]);
/// ```
#[derive(Default)]
pub struct Methods {
    handlers: BTreeMap<String, Handler>,
}

impl Methods {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a method: request and answer are any serde types. The last of one name counts.
    #[must_use]
    pub fn on<Q: DeserializeOwned, A: Serialize>(
        mut self,
        name: &str,
        mut handle: impl FnMut(&mut ServiceContext, Q) -> Result<A, HandlerError> + Send + 'static,
    ) -> Self {
        let handler = move |context: &mut ServiceContext, request: &[u8], reply: &mut Vec<u8>| {
            let request = match postcard::take_from_bytes::<Q>(request) {
                Ok((request, [])) => request,
                Ok((_, rest)) => {
                    return Outcome::BadRequest(format!("{} bytes follow its end", rest.len()));
                }
                Err(error) => return Outcome::BadRequest(error.to_string()),
            };
            match handle(context, request) {
                Ok(answer) => match postcard::to_extend(&answer, std::mem::take(reply)) {
                    Ok(bytes) => {
                        *reply = bytes;
                        Outcome::Done
                    }
                    Err(error) => Outcome::Handler { code: -1, message: error.to_string() },
                },
                Err(HandlerError { code, message }) => Outcome::Handler { code, message },
            }
        };
        self.handlers.insert(name.to_owned(), Box::new(handler));
        self
    }

    /// The methods' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }
}

impl std::fmt::Debug for Methods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

/// The request that a handler is about.
#[derive(Clone, Copy, Debug)]
struct Current {
    deadline_ns: u64,
    participant: u16,
    redelivered: bool,
}

/// What a handler has in hand besides its request.
pub struct ServiceContext {
    identity: Identity,
    client: Option<Client>,
    tether: Tether,
    current: Current,
}

impl ServiceContext {
    /// Who this is: job, instance, attempt.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How long the caller still waits; `None` for ever.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        match self.current.deadline_ns {
            0 => None,
            deadline => Some(Duration::from_nanos(deadline.saturating_sub(monotonic_ns()))),
        }
    }

    /// Says whether nobody waits for the answer any more: its time is over, or the caller is gone. A
    /// handler that takes long should look, and give up. A system call.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.time_left() == Some(Duration::ZERO) || self.caller_is_gone()
    }

    fn caller_is_gone(&self) -> bool {
        use crate::shm::peers::Peers;
        self.tether.segment().peers(0).is_dead(self.current.participant)
    }

    /// Says whether another instance, or an earlier attempt, may have handled this request already,
    /// and died before it was done.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.current.redelivered
    }

    /// Calls another service, and waits no longer than the caller of this one does.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_service<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &mut self,
        service: &str,
        method: &str,
        request: &Q,
        timeout: Duration,
    ) -> Result<A, CallError> {
        let call = self.call_service_async(service, method, request, timeout)?;
        self.wait_for(call)
    }

    /// Calls another service, to wait for its answer later.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn call_service_async<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &mut self,
        service: &str,
        method: &str,
        request: &Q,
        timeout: Duration,
    ) -> Result<PendingCall<A>, CallError> {
        let timeout = self.time_left().map_or(timeout, |left| left.min(timeout));
        let client = self.client.as_mut().ok_or_else(|| CallError::undeclared(service))?;
        client.send(&mut self.tether, service, method, request, timeout)
    }

    /// Waits for the answer of a call.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn wait_for<A: DeserializeOwned>(&mut self, call: PendingCall<A>) -> Result<A, CallError> {
        let client = self.client.as_mut().ok_or_else(|| CallError::undeclared(call.service()))?;
        client.wait(&mut self.tether, call)
    }
}

impl std::fmt::Debug for ServiceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceContext").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// A request that has waited so long is worth a look at its caller, which is a system call.
const WAITED_LONG_NS: u64 = 1_000_000;

/// One instance of a service.
pub(crate) struct Server {
    context: ServiceContext,
    methods: Methods,
    requests: Consumer,
    replies: BTreeMap<u32, (String, Option<Producer>)>,
    counters: Counters,
    told: Counters,
    payload: Vec<u8>,
    reply: Vec<u8>,
}

impl Server {
    pub(crate) fn open(
        spec: &TaskSpec,
        tether: Tether,
        methods: Methods,
    ) -> Result<Self, TaskError> {
        let serve = spec.serve.as_ref().ok_or("the spec of a service names no requests")?;
        let requests = tether.open(&serve.requests)?.consumer()?;
        let client = Client::open(spec, &tether)?;
        let replies = serve.replies.iter().map(|(place, ring)| (*place, (ring.clone(), None)));
        Ok(Self {
            replies: replies.collect(),
            context: ServiceContext {
                identity: Identity::of(spec),
                client,
                tether,
                current: Current { deadline_ns: 0, participant: 0, redelivered: false },
            },
            methods,
            requests,
            counters: Counters::default(),
            told: Counters::default(),
            payload: Vec::new(),
            reply: Vec::new(),
        })
    }

    /// Serves until every client has ended.
    pub(crate) fn run(&mut self) -> Result<(), TaskError> {
        loop {
            let wait = Wait::Until(Instant::now() + SLICE);
            match self.requests.hold(wait) {
                Ok(_) => {}
                Err(GetError::Timeout | GetError::Empty | GetError::Draining { .. }) => {
                    self.context.tether.look()?;
                    self.tell_counters()?;
                    continue;
                }
                Err(GetError::Closed) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            self.handle()?;
            self.requests.ack_held();
        }
    }

    fn handle(&mut self) -> Result<(), TaskError> {
        let Some((bytes, info)) = self.requests.last_held() else { return Ok(()) };
        let (head, request) = postcard::take_from_bytes::<RequestHead<'_>>(bytes)
            .map_err(|error| format!("a request cannot be read: {error}"))?;
        let context = &mut self.context;
        context.current = Current {
            deadline_ns: head.deadline_ns,
            participant: head.participant,
            redelivered: (info.delivery_count > 1),
        };
        self.payload.clear();
        let now = monotonic_ns();
        let outcome = if head.deadline_ns != 0 && head.deadline_ns <= now {
            self.counters.late += 1;
            Outcome::DeadlineExceeded
        } else if ((info.delivery_count > 1) || now.saturating_sub(head.sent_ns) > WAITED_LONG_NS)
            && context.caller_is_gone()
        {
            // Whoever waited for it has died with its call.
            self.counters.late += 1;
            return Ok(());
        } else {
            self.counters.received += 1;
            match self.methods.handlers.get_mut(head.method) {
                Some(handler) => handler(context, request, &mut self.payload),
                None => Outcome::NoSuchMethod(self.methods.names().map(str::to_owned).collect()),
            }
        };
        let (call, client, deadline_ns) = (head.call, head.client, head.deadline_ns);
        self.reply(call, client, deadline_ns, outcome)
    }

    fn reply(
        &mut self,
        call: u64,
        client: u32,
        deadline_ns: u64,
        outcome: Outcome,
    ) -> Result<(), TaskError> {
        let done = outcome == Outcome::Done;
        self.reply.clear();
        let mut bytes =
            postcard::to_extend(&ReplyHead { call, outcome }, std::mem::take(&mut self.reply))?;
        if done {
            bytes.extend_from_slice(&self.payload);
        }
        let tether = &mut self.context.tether;
        let Some((ring, producer)) = self.replies.get_mut(&client) else {
            return Err(format!("a request names client {client}, which there is not").into());
        };
        if producer.is_none() {
            *producer = Some(tether.open(ring)?.producer()?);
        }
        let Some(producer) = producer else { return Ok(()) };
        // Without a look at the clock, unless there is no room.
        let mut wait = Wait::No;
        loop {
            match producer.put(RecordKind::RAW, &bytes, wait) {
                Ok(()) => {
                    self.counters.sent += 1;
                    self.reply = bytes;
                    return Ok(());
                }
                Err(PutError::Timeout | PutError::Full) => {
                    wait = Wait::at_most(SLICE);
                    tether.look()?;
                    // Nobody reads it in time any more.
                    if deadline_ns != 0 && deadline_ns < monotonic_ns() {
                        self.counters.late += 1;
                        return Ok(());
                    }
                }
                Err(PutError::TooLarge { len, max }) => {
                    let outcome = Outcome::TooLarge { len: len as u64, max: max as u64 };
                    bytes = postcard::to_allocvec(&ReplyHead { call, outcome })?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell_counters(&mut self) -> Result<(), ContextError> {
        if self.told != self.counters {
            self.told = self.counters;
            self.context.tether.tell(Event::Counters(self.counters))?;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<(), ContextError> {
        self.context.tether.tell(Event::Finished(self.counters))
    }

    pub(crate) fn fail(mut self, why: &str) {
        // The exit status and standard error say so, too.
        let _ = self.context.tether.tell(Event::Failed(why.to_owned()));
    }
}
