//! iceoryx2's request and response: the request is the packet forth, the response that back.

use std::cell::RefCell;
use std::rc::Rc;

use iceoryx2::active_request::ActiveRequest;
use iceoryx2::pending_response::PendingResponse;
use iceoryx2::port::client::Client;
use iceoryx2::port::server::Server;
use iceoryx2::prelude::*;

use crate::error::{BenchError, Result};
use crate::payload::{self, Source};
use crate::peers::Pair;
use crate::rivals::iceoryx::{name, node, one_after_the_other};
use crate::rivals::refused;
use crate::transport::{Inlet, Outlet};
use crate::work::Task;

type Ipc = ipc::Service;
type Pending = Rc<RefCell<Option<PendingResponse<Ipc, [u8], (), [u8], ()>>>>;
type Active = Rc<RefCell<Option<ActiveRequest<Ipc, [u8], (), [u8], ()>>>>;

/// Sends requests.
pub(crate) struct Requests(Client<Ipc, [u8], (), [u8], ()>, Pending, Source, Node<Ipc>);
/// Receives responses.
pub(crate) struct Responses(Pending);
/// Receives requests.
pub(crate) struct Requested(Server<Ipc, [u8], (), [u8], ()>, Active, Node<Ipc>);
/// Sends responses.
pub(crate) struct Responder(Active, Source);

/// Opens the client's ends.
///
/// # Errors
/// When iceoryx2 refuses.
pub(crate) fn client(pair: &Pair, task: &Task) -> Result<(Requests, Responses)> {
    one_after_the_other(pair, true, || open_client(task))
}

fn open_client(task: &Task) -> Result<(Requests, Responses)> {
    let node = node(task)?;
    let service = node
        .service_builder(&name(task, "request")?)
        .request_response::<[u8], [u8]>()
        .open_or_create()
        .map_err(refused("opening an iceoryx2 service"))?;
    let client = service
        .client_builder()
        .initial_max_slice_len(task.work.payload())
        .create()
        .map_err(refused("making an iceoryx2 client"))?;
    let pending = Pending::default();
    let source = Source::new(task.work.payload(), 1);
    Ok((Requests(client, Rc::clone(&pending), source, node), Responses(pending)))
}

/// Opens the server's ends.
///
/// # Errors
/// When iceoryx2 refuses.
pub(crate) fn server(pair: &Pair, task: &Task) -> Result<(Responder, Requested)> {
    one_after_the_other(pair, false, || open_server(task))
}

fn open_server(task: &Task) -> Result<(Responder, Requested)> {
    let node = node(task)?;
    let service = node
        .service_builder(&name(task, "request")?)
        .request_response::<[u8], [u8]>()
        .open_or_create()
        .map_err(refused("opening an iceoryx2 service"))?;
    let server = service
        .server_builder()
        .initial_max_slice_len(task.work.payload())
        .create()
        .map_err(refused("making an iceoryx2 server"))?;
    let active = Active::default();
    let source = Source::new(task.work.payload(), 1);
    Ok((Responder(Rc::clone(&active), source), Requested(server, active, node)))
}

impl Outlet for Requests {
    fn send(&mut self, first: u64, _: usize) -> Result<()> {
        let bytes = self.2.one(first);
        let request =
            self.0.loan_slice_uninit(bytes.len()).map_err(refused("loaning a request"))?;
        let pending =
            request.write_from_slice(bytes).send().map_err(refused("sending a request"))?;
        *self.1.borrow_mut() = Some(pending);
        Ok(())
    }

    fn source(&mut self) -> Option<&mut Source> {
        Some(&mut self.2)
    }
}

impl Inlet for Responses {
    fn receive(&mut self, expected: u64, _: usize) -> Result<usize> {
        let mut pending = self.0.borrow_mut();
        let Some(asked) = pending.as_mut() else {
            return Err(BenchError::Usage("nothing was requested".into()));
        };
        loop {
            if let Some(response) = asked.receive().map_err(refused("receiving a response"))? {
                let whole = payload::read(response.payload(), expected);
                drop(response);
                *pending = None;
                return if whole { Ok(1) } else { Err(BenchError::Damaged { sequence: expected }) };
            }
            std::hint::spin_loop();
        }
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("iceoryx2 has no open loop here".into()))
    }
}

impl Inlet for Requested {
    fn receive(&mut self, expected: u64, _: usize) -> Result<usize> {
        loop {
            if let Some(request) = self.0.receive().map_err(refused("receiving a request"))? {
                let whole = payload::read(request.payload(), expected);
                *self.1.borrow_mut() = Some(request);
                return if whole { Ok(1) } else { Err(BenchError::Damaged { sequence: expected }) };
            }
            std::hint::spin_loop();
        }
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("iceoryx2 has no open loop here".into()))
    }
}

impl Outlet for Responder {
    fn send(&mut self, first: u64, _: usize) -> Result<()> {
        let bytes = self.1.one(first);
        let Some(request) = self.0.borrow_mut().take() else {
            return Err(BenchError::Usage("nothing was requested".into()));
        };
        let response =
            request.loan_slice_uninit(bytes.len()).map_err(refused("loaning a response"))?;
        response.write_from_slice(bytes).send().map_err(refused("sending a response"))
    }

    fn source(&mut self) -> Option<&mut Source> {
        Some(&mut self.1)
    }
}
