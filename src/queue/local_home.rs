//! Where a ring on the heap lives: one process, one participant, nobody dies alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};
use std::time::Duration;

use crate::error::OpenError;
use crate::queue::core::{Core, Home};
use crate::queue::local;
use crate::queue::roles::{Role, RoleGuard};
use crate::shm::os;
use crate::shm::peers::{Peers, Woken};
use crate::sync::AtomicU32;

/// The participant that all threads of this process are.
const ME: u16 = 1;

/// The home of one local ring.
#[derive(Debug)]
pub(crate) struct LocalHome {
    doorbell: AtomicU32,
    roles: [Arc<AtomicBool>; 2],
    dead_letter: Option<String>,
    barrier_registered: bool,
}

impl LocalHome {
    pub(crate) fn new(dead_letter: Option<String>) -> Self {
        Self {
            doorbell: AtomicU32::new(0),
            roles: Default::default(),
            dead_letter,
            barrier_registered: os::register_barrier(),
        }
    }

    fn role(&self, role: Role) -> &Arc<AtomicBool> {
        match role {
            Role::Producer => &self.roles[0],
            Role::Consumer => &self.roles[1],
        }
    }
}

/// Frees a role of a local ring.
struct LocalRole(Arc<AtomicBool>);

impl Drop for LocalRole {
    fn drop(&mut self) {
        // SYNC role (pairs with the swap in `claim_role`): what we did as its holder is visible to
        // the next.
        self.0.store(false, StdOrdering::Release);
    }
}

impl Peers for LocalHome {
    fn me(&self) -> u16 {
        ME
    }

    fn is_dead(&self, _: u16) -> bool {
        false
    }

    fn with_dead(&self, _: u16, _: &mut dyn FnMut()) -> bool {
        false
    }

    fn doorbell(&self, id: u16) -> Option<&AtomicU32> {
        (id == ME).then_some(&self.doorbell)
    }

    fn touch(&self) {}

    fn fence_needed(&self) -> bool {
        !self.barrier_registered
    }

    fn heavy_barrier(&self) -> bool {
        self.barrier_registered && os::heavy_barrier()
    }

    fn producer_is_gone(&self) -> bool {
        // SYNC role.
        !self.role(Role::Producer).load(StdOrdering::Acquire)
    }

    fn sleep(&self, seen: u32, timeout: Duration) -> Woken {
        os::sleep_on(&self.doorbell, seen, timeout)
    }

    fn wake(&self, id: u16) -> usize {
        if id == ME { os::futex_wake(&self.doorbell, u32::MAX) } else { 0 }
    }
}

impl Home for LocalHome {
    fn claim_role(&self, role: Role) -> Result<RoleGuard, OpenError> {
        let taken = self.role(role);
        // SYNC role.
        if taken.swap(true, StdOrdering::AcqRel) {
            return Err(OpenError::RoleTaken {
                queue: "local queue".to_owned(),
                role: role.name(),
                pid: std::process::id(),
            });
        }
        Ok(Box::new(LocalRole(Arc::clone(taken))))
    }

    fn destroy(&self) -> Result<(), OpenError> {
        // The ring is marked by the caller; its memory goes with its last handle.
        Ok(())
    }

    fn dead_letters(&self) -> Option<Arc<Core>> {
        let id = self.dead_letter.as_deref()?;
        local::find(id).map(|ring| Arc::clone(ring.core()))
    }

    fn has_dead_letters(&self) -> bool {
        self.dead_letter.is_some()
    }
}
