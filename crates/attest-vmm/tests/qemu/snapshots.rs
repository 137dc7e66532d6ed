//! Machines that are saved, and go on any number of times.

use std::fs::File;
use std::os::fd::OwnedFd;

use attest_image::bare::BareGuest;
use attest_vmm::{EndingKind, MachineType, Ram, Saved, Started, VmmError};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::AsyncWriteExt;

use crate::linux::guest;
use crate::support::{agent, machine, read_until, start};

const MEMORY: u64 = 256 << 20;

fn memory_file(bytes: u64) -> File {
    let file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(bytes).unwrap();
    file
}

fn again(file: &File) -> OwnedFd {
    use std::os::fd::AsRawFd;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = File::options();
    options.read(true).write(true).open(name).unwrap().into()
}

async fn started(guest: &BareGuest, board: MachineType, ram: Ram, waits: bool) -> Started {
    let mut machine = machine(&guest.kernel);
    machine.initrd.clone_from(&guest.initrd);
    machine.memory = MEMORY;
    machine.qemu.machine = board;
    machine.ram = ram;
    machine.waits = waits;
    start(machine).await.unwrap()
}

async fn save(machine: &Started, what: Saved) -> Result<File, VmmError> {
    let state = memory_file(0);
    machine.running.pause().unwrap().pause().await?;
    let saves = machine.running.saves().unwrap();
    saves.save(again(&state), what).await?;
    machine.running.kill().await;
    assert_eq!(machine.running.ended().await.kind, EndingKind::Killed);
    Ok(state)
}

async fn go_on(machine: &Started, state: &File, what: Saved) {
    let saves = machine.running.saves().unwrap();
    saves.load(again(state), what).await.unwrap();
    machine.running.pause().unwrap().resume().await.unwrap();
}

async fn says(machine: &mut Started, command: &str, answer: &str) {
    let line = format!("{command}\n");
    agent(machine).write_all(line.as_bytes()).await.unwrap();
    read_until(agent(machine), answer).await;
}

#[tokio::test]
async fn a_saved_machine_goes_on_many_times_and_can_be_saved_again() {
    let Some(guest) = guest() else { return };
    for board in MachineType::ALL {
        let memory = memory_file(MEMORY);
        let mut first = started(&guest, board, Ram::Shared(again(&memory)), false).await;
        says(&mut first, "x=kept; echo $x", "kept\n").await;
        // What is to go on is there before: it sees nothing of what the first has written.
        let private = || started(&guest, board, Ram::Private(again(&memory)), true);
        let (mut one, mut two) = (private().await, private().await);
        let state = save(&first, Saved::Devices).await.unwrap();
        assert!(state.metadata().unwrap().len() < 1 << 20);
        go_on(&one, &state, Saved::Devices).await;
        go_on(&two, &state, Saved::Devices).await;
        says(&mut one, "x=one; echo $x", "one\n").await;
        says(&mut two, "echo and $x", "and kept\n").await;
        // One whose memory is nowhere else is saved with it.
        let state = save(&one, Saved::All).await.unwrap();
        let memory = memory_file(MEMORY);
        let mut again = started(&guest, board, Ram::Shared(again(&memory)), true).await;
        go_on(&again, &state, Saved::All).await;
        says(&mut again, "echo now $x", "now one\n").await;
        two.running.kill().await;
        again.running.kill().await;
    }
}

#[tokio::test]
async fn a_guest_that_went_on_boots_again() {
    let Some(guest) = guest() else { return };
    for board in MachineType::ALL {
        let memory = memory_file(MEMORY);
        let mut first = started(&guest, board, Ram::Shared(again(&memory)), false).await;
        says(&mut first, "echo here", "here\n").await;
        let state = save(&first, Saved::Devices).await.unwrap();
        let mut next = started(&guest, board, Ram::Private(again(&memory)), true).await;
        go_on(&next, &state, Saved::Devices).await;
        crate::support::allow_reboot(&next, true).await;
        says(&mut next, "echo again; reboot -f", "again\n").await;
        read_until(agent(&mut next), "up\n").await;
        next.running.kill().await;
    }
}

#[tokio::test]
async fn what_is_no_state_is_refused() {
    let Some(guest) = guest() else { return };
    let ram = Ram::Private(again(&memory_file(MEMORY)));
    let machine = started(&guest, MachineType::Microvm, ram, true).await;
    let nothing = memory_file(100);
    let saves = machine.running.saves().unwrap();
    let refused = saves.load(again(&nothing), Saved::Devices).await;
    assert!(
        matches!(refused, Err(VmmError::Monitor { .. })),
        "{refused:?}"
    );
    let ending = machine.running.ended().await;
    assert_eq!(ending.kind, EndingKind::VmmCrashed, "{ending:?}");
    assert!(ending.detail.contains("migration"), "{ending:?}");
}
