//! Screens and keyboards.

use std::time::Duration;

use attest::Error;
use attest_fixture::Node;

use crate::support::Scene;

/// As the NixOS driver has it.
const DELAY: Duration = Duration::from_millis(10);

#[tokio::test]
async fn what_is_typed_arrives_and_what_is_shown_is_read() {
    let Some(scene) = Scene::of(&[Node::new("a", 1)]) else {
        return;
    };
    let lab = scene.lab().await.unwrap();
    let machine = lab.machine("a").unwrap();
    machine.start_with(false).await.unwrap();
    machine.connect(None).await.unwrap();
    let printable: String = (' '..='~').collect();
    machine
        .send_chars("cat > /tmp/typed\n", DELAY)
        .await
        .unwrap();
    machine
        .send_chars(&format!("{printable}\n\ttab\n"), DELAY)
        .await
        .unwrap();
    machine.send_keys(["ctrl-d"], DELAY).await.unwrap();
    machine
        .send_chars("touch /tmp/done\n", DELAY)
        .await
        .unwrap();
    machine.wait_for_file("/tmp/done").await.unwrap();
    let typed = machine.shell("cat /tmp/typed").await.unwrap().text();
    assert_eq!(typed, format!("{printable}\n\ttab\n"));
    // Faster than a guest takes keys: none is lost.
    let long = "All work and no play makes Jack a dull boy.\n".repeat(20);
    let began = std::time::Instant::now();
    machine
        .send_chars("cat > /tmp/typed\n", DELAY)
        .await
        .unwrap();
    machine.send_chars(&long, Duration::ZERO).await.unwrap();
    eprintln!("{:?} for {}", began.elapsed(), long.len());
    machine.send_keys(["ctrl-d"], DELAY).await.unwrap();
    machine
        .send_chars("touch /tmp/long\n", DELAY)
        .await
        .unwrap();
    machine.wait_for_file("/tmp/long").await.unwrap();
    assert_eq!(machine.shell("cat /tmp/typed").await.unwrap().text(), long);

    machine
        .send_chars("clear\necho Hello World from the screen\n", DELAY)
        .await
        .unwrap();
    machine
        .send_chars("touch /tmp/shown\n", DELAY)
        .await
        .unwrap();
    machine.wait_for_file("/tmp/shown").await.unwrap();
    // The kernel for clouds has no driver for the screen, so it is shown by hand: what is on the tty goes
    // to where a VGA card has its text.
    let show = "tail -c +5 /dev/vcsa1 | dd of=/dev/mem bs=1 seek=$((0xb8000)) conv=notrunc";
    machine.shell(show).await.unwrap();
    let file = scene.directory.path().join("screen.png");
    let picture = machine.save_screenshot(&file).await.unwrap();
    assert_eq!((picture.width, picture.height), (720, 400));
    assert_eq!(std::fs::read(&file).unwrap(), picture.bytes);
    match machine.screen_text(false).await {
        Err(error @ Error::Screen { .. }) if error.chain().contains("install tesseract") => {
            eprintln!("SKIPPED: {}", error.chain());
        }
        texts => {
            let texts = texts.unwrap();
            assert_eq!(texts.len(), 1);
            assert!(
                texts[0].contains("Hello World from the screen"),
                "{texts:?}"
            );
            let variants = machine.screen_text(true).await.unwrap();
            assert!(variants.len() >= 4);
            assert!(
                variants.iter().any(|text| text.contains("Hello World")),
                "{variants:?}"
            );
        }
    }

    for key in ["no-such-key", "a\nquit", "ü", ""] {
        let error = machine.send_keys([key], DELAY).await.unwrap_err();
        assert!(
            matches!(&error, Error::Key { .. }),
            "{key:?}: {}",
            error.chain()
        );
    }
    assert!(machine.send_chars("naïve", DELAY).await.is_err());
    machine.shell("true").await.unwrap();
}
