//! Where a ring of a segment lives: among the participants of the segment.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::OpenError;
use crate::queue::core::{Core, Home};
use crate::queue::ring_queue;
use crate::queue::roles::{Role, RoleGuard};
use crate::shm::peers::{Peers, Woken};
use crate::shm::segment::Segment;
use crate::shm::segment_peers::SegmentPeers;
use crate::sync::AtomicU32;

/// The home of one ring of a segment. Keeps this process's participation.
#[derive(Debug)]
pub(crate) struct SegmentHome {
    peers: Arc<SegmentPeers>,
    ring: usize,
    /// Opened when the first dead letter comes.
    dead_letters: OnceLock<Arc<Core>>,
}

impl SegmentHome {
    pub(crate) fn new(segment: &Arc<Segment>, ring: usize) -> Self {
        Self { peers: segment.peers(ring), ring, dead_letters: OnceLock::new() }
    }

    fn segment(&self) -> &Arc<Segment> {
        self.peers.segment()
    }

    fn dead_letter_name(&self) -> Option<&str> {
        self.segment().ring_config(self.ring)?.dead_letter.as_deref()
    }
}

impl Peers for SegmentHome {
    fn me(&self) -> u16 {
        self.peers.me()
    }
    fn is_dead(&self, id: u16) -> bool {
        self.peers.is_dead(id)
    }
    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool {
        self.peers.with_dead(id, f)
    }
    fn doorbell(&self, id: u16) -> Option<&AtomicU32> {
        self.peers.doorbell(id)
    }
    fn touch(&self) {
        self.peers.touch();
    }
    fn fence_needed(&self) -> bool {
        self.peers.fence_needed()
    }
    fn heavy_barrier(&self) -> bool {
        self.peers.heavy_barrier()
    }
    fn producer_is_gone(&self) -> bool {
        self.peers.producer_is_gone()
    }
    fn sleep(&self, seen: u32, timeout: Duration) -> Woken {
        self.peers.sleep(seen, timeout)
    }
    fn wake(&self, id: u16) -> usize {
        self.peers.wake(id)
    }
}

impl Home for SegmentHome {
    fn claim_role(&self, role: Role) -> Result<RoleGuard, OpenError> {
        Ok(Box::new(self.segment().claim_role(self.ring, role)?))
    }

    fn destroy(&self) -> Result<(), OpenError> {
        self.segment().destroy()
    }

    fn dead_letters(&self) -> Option<Arc<Core>> {
        let name = self.dead_letter_name()?;
        if let Some(core) = self.dead_letters.get() {
            return Some(Arc::clone(core));
        }
        let opened = ring_queue::open_ring(self.segment(), name, None).ok()?;
        Some(Arc::clone(self.dead_letters.get_or_init(|| Arc::clone(opened.core()))))
    }

    fn has_dead_letters(&self) -> bool {
        self.dead_letter_name().is_some()
    }

    fn place(&self) -> Option<(&Segment, usize)> {
        Some((self.segment(), self.ring))
    }
}
