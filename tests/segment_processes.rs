//! Promises about segments that several processes share: who is alive, who may remove what.

#![allow(unsafe_code, reason = "fork: the promises about forked children need real ones")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};
use ringway::error::OpenError;
use ringway::shm::Lifetime;
use ringway::shm::peers::Peers;
use ringway::shm::segment::Unusable;
use ringway::shm::segment::{
    CleanOptions, CleanOutcome, RingConfig, Role, Segment, SegmentConfig, SegmentView,
};
use ringway::shm::storage::{Geometry, Side};
use support::*;

const RELAXED: Ordering = Ordering::Relaxed;

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, directory)) = helper_job() else { return };
    let attach = || Segment::attach(&directory, &name("x"), "helper").unwrap();
    match job.as_str() {
        "hold" => {
            let segment = attach();
            segment.peers(1).touch();
            tell("id", segment.participant_id());
            wait_for_parent();
        }
        "produce" => {
            let _role = attach().claim_role(2, Role::Producer).unwrap();
            tell("role", "taken");
            wait_for_parent();
        }
        "create" => {
            let segment = Segment::create(&directory, &config("x", Lifetime::Ephemeral)).unwrap();
            tell("id", segment.participant_id());
            wait_for_parent();
        }
        // The child holds on to all it inherited, while the parent is killed.
        "fork" => {
            let segment = attach();
            // SAFETY: the child only waits, and is killed by the test.
            match unsafe { fork() }.unwrap() {
                ForkResult::Child => loop {
                    nix::unistd::pause();
                },
                ForkResult::Parent { child } => {
                    tell("child", child);
                    tell("id", segment.participant_id());
                    wait_for_parent();
                }
            }
        }
        // The child outlives its parent, and drops what it inherited when the test closes the pipe.
        "orphan" => {
            let segment = Segment::create(&directory, &config("x", Lifetime::Ephemeral)).unwrap();
            // SAFETY: libtest's main thread waits for this one and holds nothing the child needs.
            match unsafe { fork() }.unwrap() {
                ForkResult::Child => {
                    tell("child", std::process::id());
                    wait_for_parent();
                    drop(segment);
                    tell("dropped", "all");
                    loop {
                        nix::unistd::pause();
                    }
                }
                ForkResult::Parent { .. } => loop {
                    nix::unistd::pause();
                },
            }
        }
        // The child uses what it inherited, drops it, and attaches anew.
        "inherit" => {
            let segment = Segment::shared(&directory, &name("x"), "parent").unwrap();
            let memory = segment.memory(0).unwrap();
            let peers = segment.peers(0);
            tell("id", segment.participant_id());
            // SAFETY: no other thread of this process holds a lock that the child needs; libtest's
            // main thread waits for this one.
            match unsafe { fork() }.unwrap() {
                ForkResult::Child => {
                    // Something else of the child's lies where the ring was mapped in the parent.
                    let squatter = squat(memory.payload_ptr(64, false));
                    drop(memory);
                    tell("check", format!("{:?}", segment.check()));
                    tell(
                        "peers",
                        format!("{:?} {:?}", peers.segment().check(), peers.doorbell(1).is_some()),
                    );
                    tell("memory", matches!(segment.memory(0), Err(OpenError::Forked { .. })));
                    tell("destroy", matches!(segment.destroy(), Err(OpenError::Forked { .. })));
                    let role = segment.claim_role(2, Role::Consumer);
                    tell("role", matches!(role, Err(OpenError::Forked { .. })));
                    drop((segment, peers));
                    // SAFETY: our own page, mapped above; if a drop unmapped it the child dies here.
                    tell("squatter", unsafe { squatter.read_volatile() });
                    let anew = Segment::shared(&directory, &name("x"), "child").unwrap();
                    anew.memory(0).unwrap();
                    anew.check().unwrap();
                    tell("anew", anew.participant_id());
                    wait_for_parent();
                    drop(anew);
                    std::process::exit(0);
                }
                ForkResult::Parent { child } => {
                    nix::sys::wait::waitpid(child, None).unwrap();
                    // The child's drops have not harmed us.
                    segment.check().unwrap();
                    assert!(segment.still_linked());
                    assert_eq!(memory.geometry(), peers.segment().memory(0).unwrap().geometry());
                }
            }
        }
        other => panic!("unknown job {other}"),
    }
}

/// Maps a page of our own at an address where nothing is mapped, and writes 42 there.
fn squat(at: *mut u8) -> *mut u8 {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED_NOREPLACE;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let address = std::num::NonZeroUsize::new(at as usize);
    let bytes = std::num::NonZeroUsize::new(4096).unwrap();
    // SAFETY: a new private mapping, which replaces nothing.
    let page = unsafe { mmap_anonymous(address, bytes, protection, flags) }.unwrap();
    let page = page.as_ptr().cast::<u8>();
    // SAFETY: the page just mapped.
    unsafe { page.write_volatile(42) };
    page
}

fn with_single_ring(lifetime: Lifetime) -> SegmentConfig {
    let single = Geometry { producers: Side::Single, consumers: Side::Single, ..geometry() };
    config("x", lifetime).with_ring(RingConfig::new("single", single))
}

fn id_of(helper: &mut Helper) -> u16 {
    helper.expect("id").parse().unwrap()
}

#[test]
fn a_killed_participants_place_is_free_again_and_scrubbed() {
    let place = place();
    let config = SegmentConfig { max_participants: 2, ..config("x", Lifetime::Keep) };
    let segment = Segment::create(&place.directory, &config).unwrap();
    let mut helper = Helper::start("hold", &place);
    let id = id_of(&mut helper);
    let peers = segment.peers(1);
    assert!(!peers.is_dead(id) && !peers.is_dead(peers.me()));
    assert!(!peers.with_dead(id, &mut || panic!("it is alive")));
    let full = Segment::attach(&place.directory, &name("x"), "late").unwrap_err();
    assert!(matches!(full, OpenError::TooManyParticipants { max: 2, .. }));
    let info = segment.participants().into_iter().find(|info| info.id == id).unwrap();
    assert_eq!((info.pid, info.name.as_str()), (helper.child.id(), "helper"));
    assert_eq!((info.alive, info.rings_touched), (true, 1 << 1));
    assert!(info.start_ticks > 0 && info.joined_unix_ns > 0);
    // As if it slept in the ring it touched.
    let memory = segment.memory(1).unwrap();
    memory.header().get_waiters.words[0].fetch_or(1 << id, RELAXED);

    helper.kill();
    wait_until("the kernel has freed the lock", || peers.is_dead(id));
    let mut ran = 0;
    assert!(peers.with_dead(id, &mut || {
        ran += 1;
        assert!(!peers.with_dead(id, &mut || panic!("two recoverers of one id")));
    }));
    assert_eq!(ran, 1);
    assert!(!segment.participants().iter().find(|info| info.id == id).unwrap().alive);

    let next = Segment::attach(&place.directory, &name("x"), "next").unwrap();
    assert_eq!(next.participant_id(), id);
    assert_eq!(memory.header().get_waiters.words[0].load(RELAXED), 0);
    assert_eq!(segment.control_stats().unwrap().recovered_total, 1);
    let info = next.participants().into_iter().find(|info| info.id == id).unwrap();
    assert_eq!((info.name.as_str(), info.rings_touched, info.alive), ("next", 0, true));
}

#[test]
fn a_place_left_in_order_is_free_and_needs_no_scrubbing() {
    let place = place();
    let config = SegmentConfig { max_participants: 2, ..config("x", Lifetime::Keep) };
    let segment = Segment::create(&place.directory, &config).unwrap();
    for _ in 0..5 {
        let other = Segment::attach(&place.directory, &name("x"), "other").unwrap();
        other.peers(0).touch();
        assert_ne!(other.participant_id(), segment.participant_id());
    }
    assert_eq!(segment.participants().len(), 1);
    let stats = segment.control_stats().unwrap();
    assert_eq!((stats.joined_total, stats.recovered_total), (6, 0));
}

#[test]
fn a_stopped_process_is_not_dead() {
    let place = place();
    let segment = Segment::create(&place.directory, &config("x", Lifetime::Keep)).unwrap();
    let mut helper = Helper::start("hold", &place);
    let id = id_of(&mut helper);
    kill(helper.pid(), Signal::SIGSTOP).unwrap();
    assert!(!segment.peers(0).is_dead(id));
    assert_eq!(outcome(&place, false), CleanOutcome::Live);
    kill(helper.pid(), Signal::SIGCONT).unwrap();
    helper.finish();
    assert!(segment.peers(0).is_dead(id));
}

#[test]
fn a_forked_child_keeps_no_lock_of_its_dead_parent() {
    let place = place();
    let segment = Segment::create(&place.directory, &config("x", Lifetime::Keep)).unwrap();
    let mut helper = Helper::start("fork", &place);
    let child = Orphan(Pid::from_raw(helper.expect("child").parse().unwrap()));
    let id = id_of(&mut helper);
    assert!(!segment.peers(0).is_dead(id));
    helper.kill();
    wait_until("the lock is free", || segment.peers(0).is_dead(id));
    kill(child.0, None).expect("the child lives on");
}

/// A process that is not our child, killed when dropped.
struct Orphan(Pid);

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

#[test]
fn a_child_that_drops_a_dead_parents_handle_removes_nothing() {
    let place = place();
    let mut helper = Helper::start("orphan", &place);
    let child = Orphan(Pid::from_raw(helper.expect("child").parse().unwrap()));
    let look = Segment::open_readonly(&place.directory, &name("x")).unwrap();
    let pipe = helper.child.stdin.take();
    helper.kill();
    wait_until("the parent is dead", || look.participants().iter().all(|info| !info.alive));
    // The child waits for it as well.
    drop(pipe);
    helper.expect("dropped");
    assert!(look.still_linked() && !look.is_destroyed());
    drop(child);
    assert_eq!(outcome(&place, false), CleanOutcome::Removed { packets: 0 });
}

#[test]
fn an_inherited_handle_says_forked_harms_nobody_and_the_child_maps_anew() {
    let place = place();
    let segment =
        Segment::create(&place.directory, &with_single_ring(Lifetime::Ephemeral)).unwrap();
    let mut helper = Helper::start("inherit", &place);
    let parent = id_of(&mut helper);
    assert_eq!(helper.expect("check"), format!("Err({:?})", Unusable::Forked));
    assert_eq!(helper.expect("peers"), format!("Err({:?}) false", Unusable::Forked));
    for key in ["memory", "destroy", "role"] {
        assert_eq!(helper.expect(key), "true", "{key}");
    }
    assert_eq!(helper.expect("squatter"), "42");
    let child: u16 = helper.expect("anew").parse().unwrap();
    assert_ne!(child, parent);
    assert!(!segment.peers(0).is_dead(parent) && !segment.peers(0).is_dead(child));
    helper.finish();
    assert!(segment.peers(0).is_dead(parent) && segment.peers(0).is_dead(child));
    assert!(segment.check().is_ok() && segment.still_linked());
}

#[test]
fn a_role_is_exclusive_and_passes_on_only_at_death() {
    let place = place();
    let segment = Segment::create(&place.directory, &with_single_ring(Lifetime::Keep)).unwrap();
    let mut helper = Helper::start("produce", &place);
    helper.expect("role");
    let taken = segment.claim_role(2, Role::Producer).unwrap_err();
    match taken {
        OpenError::RoleTaken { pid, role, .. } => {
            assert_eq!((pid, role), (helper.child.id(), "producer"));
        }
        other => panic!("{other}"),
    }
    assert!(segment.role_held(2, Role::Producer) && !segment.role_held(2, Role::Consumer));
    let consumer = segment.claim_role(2, Role::Consumer).unwrap();
    assert!(matches!(segment.claim_role(2, Role::Consumer), Err(OpenError::RoleTaken { .. })));
    drop(consumer);
    drop(segment.claim_role(2, Role::Consumer).unwrap());
    assert!(matches!(segment.claim_role(0, Role::Producer), Err(OpenError::InvalidConfig { .. })));
    helper.kill();
    wait_until("the role is free", || !segment.role_held(2, Role::Producer));
    segment.claim_role(2, Role::Producer).unwrap();
}

#[test]
fn the_last_to_leave_an_ephemeral_segment_removes_it() {
    let place = place();
    let first = Segment::create(&place.directory, &config("a/x", Lifetime::Ephemeral)).unwrap();
    let second = Segment::attach(&place.directory, &name("a/x"), "second").unwrap();
    drop(first);
    assert!(second.still_linked() && second.check().is_ok());
    drop(second);
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0);
    drop(Segment::create(&place.directory, &config("a/x", Lifetime::Keep)).unwrap());
    Segment::attach(&place.directory, &name("a/x"), "a kept one stays").unwrap();
}

#[test]
fn destroying_reaches_every_handle_and_no_successor() {
    let place = place();
    let first = Segment::create(&place.directory, &config("x", Lifetime::Keep)).unwrap();
    let other = Segment::attach(&place.directory, &name("x"), "other").unwrap();
    let bell = other.peers(0);
    let before = bell.doorbell(other.participant_id()).unwrap().load(RELAXED);
    first.destroy().unwrap();
    assert_eq!(other.check(), Err(Unusable::Destroyed));
    assert_eq!(bell.segment().check(), Err(Unusable::Destroyed));
    assert_ne!(bell.doorbell(other.participant_id()).unwrap().load(RELAXED), before);
    let gone = Segment::attach(&place.directory, &name("x"), "late");
    assert!(matches!(gone, Err(OpenError::NotFound { .. })));
    let successor = Segment::create(&place.directory, &config("x", Lifetime::Keep)).unwrap();
    first.destroy().unwrap();
    other.destroy().unwrap();
    assert!(successor.check().is_ok() && successor.still_linked());
    assert!(Segment::is_uuid(&place.directory, &name("x"), successor.uuid()).unwrap());
    assert!(!Segment::is_uuid(&place.directory, &name("x"), first.uuid()).unwrap());
}

#[test]
fn a_removal_that_was_cut_short_is_finished_by_the_next() {
    let place = place();
    let marked = || {
        // As a destroyer leaves it that dies between the mark and the unlink.
        let segment = Segment::create(&place.directory, &config("x", Lifetime::Keep)).unwrap();
        let aside = place.dir.path().join("aside");
        std::fs::rename(segment.path(), &aside).unwrap();
        segment.destroy().unwrap();
        std::fs::rename(aside, segment.path()).unwrap();
        drop(segment);
    };
    marked();
    let gone = Segment::attach(&place.directory, &name("x"), "t");
    assert!(matches!(gone, Err(OpenError::NotFound { .. })));
    marked();
    let fresh = Segment::create_or_attach(&place.directory, &config("x", Lifetime::Keep)).unwrap();
    fresh.destroy().unwrap();
    marked();
    assert_eq!(outcome(&place, false), CleanOutcome::Removed { packets: 0 });
    assert!(place.directory.names().unwrap().is_empty());
}

fn is_dead(look: &SegmentView, id: u16) -> bool {
    look.participants().iter().any(|info| info.id == id && !info.alive)
}

fn outcome(place: &Place, discard: bool) -> CleanOutcome {
    let options = CleanOptions { discard, ..CleanOptions::default() };
    let reports = Segment::clean_abandoned(&place.directory, options).unwrap();
    assert_eq!(reports.len(), 1);
    reports.into_iter().next().unwrap().outcome
}

#[test]
fn cleaning_removes_the_abandoned_and_never_the_live() {
    let place = place();
    let mut helper = Helper::start("create", &place);
    let id = id_of(&mut helper);
    assert_eq!(outcome(&place, true), CleanOutcome::Live);
    let look = Segment::open_readonly(&place.directory, &name("x")).unwrap();
    helper.kill();
    wait_until("it is dead", || is_dead(&look, id));
    assert!(look.still_linked(), "nobody was there to remove it");
    // Who comes before the cleaner adopts it, and is safe from then on.
    let adopted = Segment::attach(&place.directory, &name("x"), "t").unwrap();
    assert_eq!(outcome(&place, true), CleanOutcome::Live);
    assert!(adopted.still_linked() && adopted.check().is_ok());
    drop(adopted);
    assert!(!look.still_linked());

    let mut helper = Helper::start("create", &place);
    let id = id_of(&mut helper);
    let look = Segment::open_readonly(&place.directory, &name("x")).unwrap();
    helper.kill();
    wait_until("it is dead", || is_dead(&look, id));
    assert_eq!(outcome(&place, false), CleanOutcome::Removed { packets: 0 });
    assert!(look.is_destroyed());
}

#[test]
fn cleaning_keeps_packets_that_are_to_be_kept() {
    let place = place();
    let put = |lifetime| {
        let segment = Segment::create(&place.directory, &config("x", lifetime)).unwrap();
        let memory = segment.memory(0).unwrap();
        let tail = &memory.header().producers.tail;
        let bits = memory.geometry().bits();
        tail.store(bits.pack_mark(bits.unpack_mark(tail.load(RELAXED)).plus(3, 3)), RELAXED);
    };
    put(Lifetime::Keep);
    assert_eq!(outcome(&place, false), CleanOutcome::Kept { packets: 3 });
    assert_eq!(outcome(&place, true), CleanOutcome::Removed { packets: 3 });
    put(Lifetime::Job);
    let stale = |lifetime| {
        put(lifetime);
        Segment::remove_stale_job(&place.directory, &name("x")).unwrap()
    };
    assert_eq!(outcome(&place, false), CleanOutcome::Removed { packets: 3 });
    assert_eq!(stale(Lifetime::Job), CleanOutcome::Removed { packets: 3 });
    assert_eq!(stale(Lifetime::Keep), CleanOutcome::OtherLifetime(Lifetime::Keep));
    assert_eq!(outcome(&place, true), CleanOutcome::Removed { packets: 3 });
    let gone = Segment::remove_stale_job(&place.directory, &name("x")).unwrap();
    assert_eq!(gone, CleanOutcome::Gone);
    std::fs::write(place.directory.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(outcome(&place, true), CleanOutcome::Unreadable(_)));
    assert!(place.directory.path().join("notes.txt").exists());
}

#[test]
fn a_process_attaches_once_and_never_goes_on_with_a_removed_file() {
    let place = place();
    let config = config("x", Lifetime::Keep);
    let shared = || Segment::shared_or_create(&place.directory, &config).unwrap();
    let first = shared();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(Arc::ptr_eq(&first, &shared())));
        }
    });
    assert_eq!(first.participants().len(), 1);
    // Removed behind our back: not even marked.
    std::fs::remove_file(first.path()).unwrap();
    let missing = Segment::shared(&place.directory, &config.name, "t");
    assert!(matches!(missing, Err(OpenError::NotFound { .. })));
    let second = shared();
    assert_ne!(first.uuid(), second.uuid());
    second.destroy().unwrap();
    assert_ne!(shared().uuid(), second.uuid());
    // Replaced by another file of the same name.
    let third = shared();
    std::fs::remove_file(third.path()).unwrap();
    let fourth = Segment::create(&place.directory, &config).unwrap();
    assert_eq!(shared().uuid(), fourth.uuid());
}

/// Runs `body` in threads of their own until they have done `rounds` together.
fn race(threads: usize, rounds: usize, body: impl Fn(usize) + Sync) {
    let (done, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (done, failed, body) = (&done, &failed, &body);
            scope.spawn(move || {
                while done.fetch_add(1, RELAXED) < rounds && !failed.load(RELAXED) {
                    let result =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(thread)));
                    if let Err(panic) = result {
                        failed.store(true, RELAXED);
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

#[test]
fn nobody_removes_an_ephemeral_segment_under_somebody_who_joins() {
    let place = place();
    race(4, 2000, |thread| {
        if thread == 0 {
            for report in
                Segment::clean_abandoned(&place.directory, CleanOptions::default()).unwrap()
            {
                assert!(!matches!(report.outcome, CleanOutcome::Unreadable(_)), "{report:?}");
            }
            return;
        }
        let config = config("a/x", Lifetime::Ephemeral);
        let segment = Segment::create_or_attach(&place.directory, &config).unwrap();
        assert!(segment.check().is_ok() && segment.still_linked());
    });
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 0);
}

#[test]
fn whoever_attaches_while_others_destroy_gets_a_live_segment_or_hears_of_it() {
    let place = place();
    race(4, 2000, |thread| {
        let config = config("x", Lifetime::Keep);
        let segment = Segment::create_or_attach(&place.directory, &config).unwrap();
        if thread == 0 {
            segment.destroy().unwrap();
        }
        // Whoever removes it marks it first, so a handle never outlives its name unknowingly.
        if !segment.still_linked() {
            assert!(segment.is_destroyed());
        }
    });
}
