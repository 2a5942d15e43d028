//! What a task's function has in hand: its input, its output, the services it calls, and who it is.

use super::call::{Client, PendingCall};
use super::error::{CallError, ContextError};
use super::input::Input;
use super::output::Output;
use super::plan::TaskSpec;
use super::tether::{Counters, Event, Tether};
use crate::routing::{Flushed, InstanceId, Packet, PacketRef, RoutingInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The job.
    pub job: super::JobId,
    /// The instance.
    pub instance: InstanceId,
    /// How many instances its task has.
    pub parallelism: u32,
    /// How often it was started before.
    pub attempt: u32,
}

impl Identity {
    pub(crate) fn of(spec: &TaskSpec) -> Self {
        Self {
            job: spec.job.clone(),
            instance: spec.instance.clone(),
            parallelism: spec.parallelism,
            attempt: spec.attempt,
        }
    }
}

/// A task instance's side of its job. One thread uses it.
///
/// Whatever the function leaves undone when it returns, the runtime does: what was collected is put,
/// what was received is acknowledged, the stop signals are sent. Where it returns an error or panics,
/// nothing of that: the next attempt, if there is one, receives again what was not acknowledged.
pub struct TaskContext {
    identity: Identity,
    input: Option<Input>,
    output: Output,
    client: Option<Client>,
}

impl TaskContext {
    pub(crate) fn open(spec: &TaskSpec, tether: Tether) -> Result<Self, super::TaskError> {
        let input = Input::open(spec, &tether)?;
        let client = Client::open(spec, &tether)?;
        let output = Output::open(spec, tether)?;
        Ok(Self { identity: Identity::of(spec), input, output, client })
    }

    /// Who this is: job, instance, attempt.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            received: self.input.as_ref().map_or(0, |input| input.received),
            repeated: self.input.as_ref().map_or(0, |input| input.repeated),
            sent: self.output.sent,
            dropped: self.output.dropped,
            late: self.client.as_ref().map_or(0, Client::late),
        }
    }

    /// Receives the next packet, copied; `input_index` says which input it came from, and its
    /// provenance, where packets are numbered, from whom. `None` when every upstream has ended, or
    /// the work queue is drained.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn recv(&mut self) -> Result<Option<Packet>, ContextError> {
        let input = self.input.as_mut().ok_or(ContextError::NoInput)?;
        match input.next_with(&mut self.output, |packet, _| packet.to_packet())? {
            None => Ok(None),
            Some(Ok(packet)) => Ok(Some(packet)),
            Some(Err(source)) => {
                Err(ContextError::Undecodable { input: 0, from: "an upstream".into(), source })
            }
        }
    }

    /// Hands every packet to `work` to the end, in place, with the output to send to.
    ///
    /// # Errors
    /// Those of `work`; [`ContextError`].
    pub fn for_each(
        &mut self,
        mut work: impl FnMut(&PacketRef<'_>, &mut Output) -> super::TaskResult,
    ) -> super::TaskResult {
        let input = self.input.as_mut().ok_or(ContextError::NoInput)?;
        let output = &mut self.output;
        // Handed on through a closure, so that a short `work` is compiled into this loop.
        while let Some(done) = input.next_with(output, |packet, output| work(packet, output))? {
            done?;
        }
        Ok(())
    }

    /// Its sending side alone.
    pub fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Sends a packet, in a batch: see [`Output::send`].
    ///
    /// # Errors
    /// As [`Output::send`].
    #[inline]
    pub fn send(&mut self, packet: &PacketRef<'_>) -> Result<(), ContextError> {
        self.output.send(packet)
    }

    /// Sends a packet at once, and says what became of it: see [`Output::send_now`].
    ///
    /// # Errors
    /// As [`Output::send_now`].
    pub fn send_packet(&mut self, packet: &Packet) -> Result<Flushed, ContextError> {
        self.output.send_now(&packet.view())
    }

    /// Puts everything that was collected: for a task that is about to do something else for long.
    ///
    /// # Errors
    /// As [`Output::flush`].
    pub fn flush(&mut self) -> Result<(), ContextError> {
        self.output.flush()
    }

    /// Says that nothing follows, with a reason for people, before the function returns; nothing may
    /// be sent afterwards.
    ///
    /// # Errors
    /// As [`Output::flush`].
    pub fn send_stop_signal(&mut self, message: &str) -> Result<(), ContextError> {
        self.output.send_stop_signal(Some(message))
    }

    /// Says whether this is a source that was asked to stop.
    pub fn is_stopping(&mut self) -> bool {
        self.output.is_stopping()
    }

    /// Describes where packets go, and how full it is there.
    #[must_use]
    pub fn routing_info(&self) -> RoutingInfo {
        self.output.routing_info()
    }

    /// Hands bytes to whoever waits for the job: [`super::JobReport::results`]. Several are put
    /// together.
    ///
    /// # Errors
    /// See [`ContextError`].
    pub fn result(&mut self, bytes: &[u8]) -> super::TaskResult {
        Ok(self.output.tether.tell_result(bytes)?)
    }

    /// Calls a service and waits for its answer.
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

    /// Calls a service, to wait for its answer later.
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
        let client = self.client.as_mut().ok_or_else(|| CallError::undeclared(service))?;
        client.send(&mut self.output.tether, service, method, request, timeout)
    }

    /// Waits for the answer of a call.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn wait_for<A: DeserializeOwned>(&mut self, call: PendingCall<A>) -> Result<A, CallError> {
        let client = self.client.as_mut().ok_or_else(|| CallError::undeclared(call.service()))?;
        client.wait(&mut self.output.tether, call)
    }

    /// Ends the task well: passes everything on, stops what it feeds, and reports.
    pub(crate) fn finish(mut self) -> Result<(), ContextError> {
        match &mut self.input {
            Some(input) => input.settle(&mut self.output)?,
            None => self.output.flush()?,
        }
        self.output.send_stop_signal(None)?;
        let counters = self.counters();
        self.output.tether.tell(Event::Finished(counters))
    }

    /// Tells why it ends badly.
    pub(crate) fn fail(mut self, why: &str) {
        // The exit status and standard error say so, too.
        let _ = self.output.tether.tell(Event::Failed(why.to_owned()));
    }
}

impl std::fmt::Debug for TaskContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TaskContext").field("identity", &self.identity).finish_non_exhaustive()
    }
}
