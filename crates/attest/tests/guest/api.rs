//! The faces of the API: attribute, builder, manifest, blocking calls.

use attest::{Error, Lab, Run, wait_all};

use crate::support::{one, silent, text};

const MANIFEST: &str = "../../examples/web/attest.toml";

#[attest::test(manifest = "../../examples/web/attest.toml")]
async fn a_test_has_the_machines_of_its_manifest(lab: &Lab) -> attest::Result<()> {
    let names: Vec<_> = lab.machines().iter().map(attest::Machine::name).collect();
    assert_eq!(names, ["server", "client", "client2"]);
    assert_eq!(
        lab.networks()
            .map(|net| net.name().to_owned())
            .collect::<Vec<_>>(),
        ["lan"]
    );
    // The same at once on all, and the results in their order.
    let hosts = wait_all(
        lab.machines()
            .iter()
            .map(|machine| machine.shell("hostname")),
    )
    .await;
    let hosts: Vec<_> = hosts
        .into_iter()
        .map(|output| output.unwrap().text())
        .collect();
    assert_eq!(hosts, ["server\n", "client\n", "client2\n"]);
    let page = text(&lab.machine("server")?, "cat /www/index.html").await?;
    assert_eq!(page, "hello\n");
    Ok(())
}

#[attest::test(lab = one())]
fn a_test_may_block(lab: Lab) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let a = lab.machine("a")?;
    assert_eq!(a.shell("echo $((6 * 7))").run()?.text(), "42\n");
    assert_eq!(a.boot_timeout().as_secs(), 60);
    // Any error of the test's own passes through `?`.
    assert_eq!(a.shell("echo 7").run()?.text().trim().parse::<u32>()?, 7);
    Ok(())
}

#[attest::test(lab = one())]
#[should_panic(
    expected = "a: `ls /none` ended with exit code 1, not with exit code 0; stderr ends: ls: /none: No such file"
)]
async fn an_error_fails_the_test_with_all_that_is_known(lab: Lab) -> attest::Result<()> {
    lab.machine("a")?.shell("ls /none").await?;
    Ok(())
}

#[attest::test(lab = one())]
#[should_panic(expected = "two is not three")]
async fn a_panic_fails_the_test(lab: Lab) {
    lab.machine("a").unwrap().ready().await.unwrap();
    panic!("two is not three");
}

#[test]
fn a_lab_of_a_program_ends_when_it_is_dropped() {
    let output = tempfile::tempdir().unwrap();
    let context = silent(output.path());
    let lab = one().context(context).boot().run().unwrap();
    let unknown = lab.machine("b").unwrap_err();
    assert_eq!(unknown.to_string(), "no machine `b` in this lab; it has: a");
    let a = lab.machine("a").unwrap();
    assert!(a.is_ready());
    assert_eq!(lab.output(), output.path());
    let vmm = a.vmm_pid().run().unwrap();
    let ended = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(vmm.try_into().unwrap()).unwrap(),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    drop((lab, a));
    // Returns when it has ended; a hang fails by the runner's time-out.
    let mut ends = [rustix::event::PollFd::new(
        &ended,
        rustix::event::PollFlags::IN,
    )];
    assert_eq!(rustix::event::poll(&mut ends, None).unwrap(), 1);
}

#[test]
fn a_manifest_makes_a_lab_without_the_attribute() {
    let wrong = Lab::from_manifest("no/such/attest.toml").run().unwrap_err();
    assert!(matches!(wrong, Error::Manifest(_)), "{wrong:?}");
    assert!(
        wrong.chain().contains("no/such/attest.toml"),
        "{}",
        wrong.chain()
    );
    let plan = attest::manifest::Manifest::load(MANIFEST)
        .unwrap()
        .plan()
        .unwrap();
    let output = tempfile::tempdir().unwrap();
    let context = silent(output.path());
    // Created, and only one of its machines started.
    let lab = Lab::create(plan, context).run().unwrap();
    let client = lab.machine("client").unwrap();
    client.start().run().unwrap();
    assert_eq!(client.shell("hostname").run().unwrap().text(), "client\n");
    let server = lab.machine("server").unwrap();
    let off = server.shell("true").run().unwrap_err();
    assert_eq!(
        off.to_string(),
        "server: the machine is off; start it first"
    );
    lab.shutdown().run();
    assert!(!client.is_ready());
}
