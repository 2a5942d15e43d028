//! Another user, who may not list, attach, or make what we would then trust; and a group that may.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use ringway::error::OpenError;
use ringway::queue::QueueDescriptor;
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use shm_tests::peer::Peer;
use shm_tests::place::Place;
use shm_tests::wait_until;

use crate::{mpmc, place};

/// Numbers that no user or group of this machine needs to have.
const STRANGER: u32 = 54_321;
const MEMBERS: [u32; 2] = [54_322, 54_323];
const GROUP: u32 = 54_399;

/// A place that others may enter, with a copy of the peer that others may run; `None`, with the
/// reason printed, where nobody else can be had.
fn shared_place() -> Option<(Place, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root can run processes as other users");
        return None;
    }
    let place = place();
    set_mode(place.path(), 0o711);
    let program = place.path().join("peer");
    // By another process: a program cannot start while somebody has it open for writing, and what
    // other tests fork in this one would for a moment inherit such a descriptor.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_peer")).arg(&program).status().unwrap();
    assert!(copied.success(), "copying the peer: {copied}");
    set_mode(&program, 0o755);
    Some((place, program))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory of some mode in a place.
fn directory(place: &Place, name: &str, mode: u32) -> PathBuf {
    let path = place.path().join(name);
    fs::create_dir(&path).unwrap();
    set_mode(&path, mode);
    path
}

fn queue_in(directory: &Path) -> QueueDescriptor {
    QueueDescriptor::shm("secret:q")
        .and_then(|queue| queue.with_directory(directory))
        .and_then(|queue| queue.with_lifetime(Lifetime::Keep))
        .and_then(|queue| queue.with_config(mpmc()))
        .unwrap()
}

fn facts(path: &Path) -> (u32, u32, u32) {
    let stat = fs::symlink_metadata(path).unwrap();
    (stat.mode() & 0o7777, stat.uid(), stat.gid())
}

#[test]
fn another_user_can_neither_list_nor_attach_nor_read() {
    let Some((place, program)) = shared_place() else { return };
    let queue = queue_in(place.segments());
    queue.put(b"for our eyes only").unwrap();
    let file = place.segments().join("secret");
    assert_eq!((facts(place.segments()).0, facts(&file).0), (0o700, 0o600));
    let mut stranger = Peer::start_as(&program, STRANGER, STRANGER);
    let there = place.segments().display();
    let denied = |answer: String| {
        let said = answer.starts_with("Permission") || answer.starts_with("PermissionDenied");
        assert!(said, "{answer}");
    };
    denied(stranger.err(format!("ls {there}")));
    denied(stranger.err(format!("names {there}")));
    denied(stranger.err(format!("look {there} secret")));
    denied(stranger.err(format!("clean {there}")));
    denied(stranger.err(format!("read {there}/secret")));
    denied(stranger.err(format!("touch {there}/new 666")));
    denied(stranger.err(format!("rm {there}/secret")));
    denied(stranger.err(format!("open q {}", queue.to_json())));
    // Also where the directory is left open by mistake: the file itself says no.
    set_mode(place.segments(), 0o755);
    denied(stranger.err(format!("read {there}/secret")));
    denied(stranger.err(format!("open q {}", queue.to_json())));
    set_mode(place.segments(), 0o700);
    assert_eq!(queue.get().unwrap().payload, b"for our eyes only");
}

#[test]
fn what_another_user_made_first_is_not_trusted() {
    let Some((place, program)) = shared_place() else { return };
    let mut stranger = Peer::start_as(&program, STRANGER, STRANGER);
    let refused = |queue: &QueueDescriptor| match queue.queue() {
        Err(OpenError::Permission { path, reason }) => (path, reason),
        other => panic!("{other:?}"),
    };
    // Our own directory in a sticky place, as in /tmp, is there before us.
    let sticky = directory(&place, "sticky", 0o1777);
    let child = sticky.join("ringway-0");
    for mode in ["777", "700"] {
        stranger.ok(format!("mkdir {} {mode}", child.display()));
        let (path, reason) = refused(&queue_in(&sticky));
        assert_eq!(path, child);
        assert!(reason.contains("54321") || reason.contains("mode"), "{reason}");
        fs::remove_dir(&child).unwrap();
    }
    // The same with a link to a directory of his, or of ours.
    for target in [place.path(), place.segments()] {
        symlink(target, &child).unwrap();
        let (path, reason) = refused(&queue_in(&sticky));
        assert_eq!(path, child);
        assert!(reason.contains("link"), "{reason}");
        fs::remove_file(&child).unwrap();
    }
    // A file or a directory of a segment, put into a directory of ours that was open for a while.
    let careless = directory(&place, "careless", 0o777);
    stranger.ok(format!("touch {}/secret 600", careless.display()));
    stranger.ok(format!("mkdir {}/team 700", careless.display()));
    set_mode(&careless, 0o700);
    let (path, reason) = refused(&queue_in(&careless));
    assert!(path.ends_with("careless/secret") && reason.contains("54321"), "{path:?} {reason}");
    let (path, reason) = refused(&queue_in(&careless).clone_with_id("team/x:q").unwrap());
    assert!(path.ends_with("careless/team") && reason.contains("54321"), "{path:?} {reason}");
    // In a place where anybody can replace what is there, nothing is made at all.
    let open = directory(&place, "open", 0o777);
    assert_eq!(refused(&queue_in(&open)).0, open);
    assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    // A directory of ours in such a place is ours only as long as nobody replaces it.
    let ours = open.join("ours");
    let queue = queue_in(&ours);
    queue.put(b"x").unwrap();
    fs::rename(&ours, open.join("gone")).unwrap();
    stranger.ok(format!("mkdir {} 700", ours.display()));
    assert_eq!(refused(&queue.to_serializable_descriptor()).0, ours);
}

#[test]
fn one_group_shares_a_segment_and_nobody_else() {
    let Some((place, program)) = shared_place() else { return };
    // A place that anybody may use: the group's directory is made by whoever comes first.
    let sticky = directory(&place, "sticky", 0o1777);
    let queue = QueueDescriptor::shm("team/ingest:q")
        .and_then(|queue| queue.with_directory(&sticky))
        .and_then(|queue| queue.with_group(GROUP.to_string()))
        .and_then(|queue| queue.with_config(mpmc()))
        .unwrap();
    let mut members = MEMBERS.map(|uid| Peer::start_as(&program, uid, GROUP));
    for (member, text) in members.iter_mut().zip(["first", "second"]) {
        member.open(&queue);
        member.ok(format!("put q {text}"));
    }
    let own = sticky.join(format!("ringway-group-{GROUP}"));
    let file = own.join("team/ingest");
    assert_eq!(facts(&own), (0o770, MEMBERS[0], GROUP));
    assert_eq!(facts(&own.join("team")), (0o770, MEMBERS[0], GROUP));
    assert_eq!(facts(&file), (0o660, MEMBERS[0], GROUP));
    // Each reads the other's, also after the other's death.
    let [mut first, mut second] = members;
    assert_eq!(second.ok("get q"), "first 1");
    assert_eq!(first.ok("lease q"), "1 second 1");
    first.kill();
    assert_eq!(second.ok("get q"), "second 2");
    // Not an outsider, with the descriptor or without, and not a member who does not say so.
    let mut outsider = Peer::start_as(&program, STRANGER, STRANGER);
    let answer = outsider.err(format!("open q {}", queue.to_json()));
    assert!(answer.starts_with("Permission"), "{answer}");
    assert!(outsider.err(format!("ls {}", own.display())).starts_with("PermissionDenied"));
    assert!(outsider.err(format!("read {}", file.display())).starts_with("PermissionDenied"));
    let alone = queue_in(&own);
    assert!(second.err(format!("open r {}", alone.to_json())).starts_with("Permission"));
    // A file that is open to more than the group, or to another one, is refused by members as well.
    set_mode(&file, 0o666);
    let mut third = Peer::start_as(&program, MEMBERS[0], GROUP);
    let answer = third.err(format!("open q {}", queue.to_json()));
    assert!(answer.contains("666"), "{answer}");
    set_mode(&file, 0o660);
    third.open(&queue);
    third.ok("put q third");
    assert_eq!(second.ok("get q"), "third 1");
    // The last to leave removes it, whoever made it.
    third.quit();
    second.quit();
    wait_until("the last member has removed it", || !file.exists());
}

#[test]
fn a_group_goes_by_its_name_or_its_number_and_must_exist() {
    let place = place();
    let with = |group: &str| queue_in(place.segments()).with_group(group);
    for bad in ["", "a:b", "a\nb"] {
        assert!(matches!(with(bad), Err(OpenError::InvalidConfig { field: "group", .. })), "{bad}");
    }
    let unknown = with("no-such-group-here").unwrap().queue();
    assert!(matches!(unknown, Err(OpenError::InvalidConfig { field: "group", .. })), "{unknown:?}");
    assert!(ringway::shm::directory::group_id("4294967295").is_err());
    assert_eq!(ringway::shm::directory::group_id("0").unwrap(), 0);
    let root = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(0)).unwrap();
    let Some(root) = root else {
        println!("SKIPPED: group 0 has no name here");
        return;
    };
    assert_eq!(ringway::shm::directory::group_id(&root.name).unwrap(), 0);
    // One that is known, but not ours, cannot be given anything.
    if nix::unistd::geteuid().is_root() {
        let directory = place.path().join("by-name");
        let named = queue_in(&directory).with_group(&root.name).unwrap();
        named.put(b"x").unwrap();
        assert_eq!(facts(&directory), (0o770, 0, 0));
        assert_eq!(facts(&directory.join("secret")).0, 0o660);
        assert_eq!(Directory::open(&directory, Some(0)).unwrap().group(), Some(0));
    } else {
        println!("SKIPPED: only root is surely in group 0");
    }
}
