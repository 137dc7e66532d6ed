use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::packing::tests::{gzip, zstd};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The files of an image by their names.
type Parts = BTreeMap<String, Vec<u8>>;

fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let appended = builder.append_data(&mut header, name, text.as_bytes());
        appended.unwrap();
    }
    builder.into_inner().unwrap()
}

fn digest(bytes: &[u8]) -> Digest {
    Hashed::new(bytes).finish().unwrap()
}

/// Put a part, and describe it.
fn put(parts: &mut Parts, media_type: &str, bytes: Vec<u8>) -> Value {
    let digest = digest(&bytes);
    let described =
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
    parts.insert(store::blob(&digest), bytes);
    described
}

fn config(architecture: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let digests = layers.iter().map(|layer| {
        let mut plain = Vec::new();
        let mut stream = unpacking::plain(&**layer).unwrap();
        // What is damaged on purpose has some digest.
        let _ = stream.read_to_end(&mut plain);
        digest(&plain).to_string()
    });
    let digests: Vec<_> = digests.collect();
    json!({ "os": "linux", "architecture": architecture, "rootfs": { "type": "layers", "diff_ids": digests } })
        .to_string()
        .into_bytes()
}

/// Put an image, and describe its manifest.
fn image(parts: &mut Parts, architecture: &str, layers: &[Vec<u8>]) -> Value {
    let config = put(parts, CONFIG, config(architecture, layers));
    let layers = layers.iter().map(|layer| put(parts, LAYER, layer.clone()));
    let layers: Vec<_> = layers.collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    put(parts, MANIFEST, manifest.to_string().into_bytes())
}

fn index(manifests: &[Value]) -> Vec<u8> {
    json!({ "schemaVersion": 2, "manifests": manifests })
        .to_string()
        .into_bytes()
}

fn layout(architecture: &str, layers: &[Vec<u8>]) -> Parts {
    let mut parts = Parts::new();
    let manifest = image(&mut parts, architecture, layers);
    parts.insert("index.json".to_owned(), index(&[manifest]));
    parts
}

/// What `docker save` wrote of old.
fn saved(layers: &[Vec<u8>]) -> Parts {
    let mut parts = Parts::new();
    let config = config(ARCHITECTURE, layers);
    let name = format!("{}.json", digest(&config).digits());
    parts.insert(name.clone(), config);
    let names: Vec<_> = (0..layers.len())
        .map(|at| format!("{at}/layer.tar"))
        .collect();
    parts.extend(names.iter().cloned().zip(layers.iter().cloned()));
    let manifest = json!([{ "Config": name, "RepoTags": ["app:1"], "Layers": names }]);
    parts.insert(
        "manifest.json".to_owned(),
        manifest.to_string().into_bytes(),
    );
    parts
}

/// Read it from an archive that this packs.
fn read_packed(parts: &Parts, pack: fn(&[u8]) -> Vec<u8>) -> Result<Files, ImageError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, &bytes[..]).unwrap();
    }
    fs::write(&path, pack(&builder.into_inner().unwrap())).unwrap();
    oci(&path, directory.path(), &mut |_| {}).map(|tree| files(&tree))
}

/// Read it from a directory.
fn read(parts: &Parts) -> Result<Files, ImageError> {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in parts {
        let path = directory.path().join("image").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let path = directory.path().join("image");
    oci(&path, directory.path(), &mut |_| {}).map(|tree| files(&tree))
}

type Files = Vec<(String, String)>;

fn files(tree: &Tree) -> Files {
    let files = tree.walk().filter_map(|visit| {
        let text = visit.node.contents()?.read(1000).unwrap();
        Some((shown(&visit.path), String::from_utf8(text).unwrap()))
    });
    files.collect()
}

fn refused(parts: &Parts) -> String {
    let error = read(parts).unwrap_err();
    let source = error.source().map(ToString::to_string);
    source.unwrap_or_else(|| error.to_string())
}

fn lower() -> Vec<u8> {
    tar(&[
        ("etc/a", "lower"),
        ("etc/b", "lower"),
        ("var/x/y", "lower"),
        ("var/z", "lower"),
    ])
}

fn upper() -> Vec<u8> {
    tar(&[
        ("etc/.wh.a", ""),
        ("etc/b", "upper"),
        ("var/.wh..wh..opq", ""),
        ("var/new", "upper"),
    ])
}

fn both() -> Files {
    [("etc/b", "upper"), ("var/new", "upper")]
        .map(|(path, text)| (path.to_owned(), text.to_owned()))
        .into()
}

#[test]
fn layers_lie_over_one_another_whatever_packed_them() {
    for pack in [<[u8]>::to_vec, gzip, zstd] {
        let layers = [pack(&lower()), pack(&upper())];
        for parts in [layout("amd64", &layers), saved(&layers)] {
            assert_eq!(read(&parts).unwrap(), both());
            assert_eq!(read_packed(&parts, <[u8]>::to_vec).unwrap(), both());
            assert_eq!(read_packed(&parts, gzip).unwrap(), both());
        }
    }
}

#[test]
fn an_image_without_layers_is_empty() {
    assert_eq!(read(&layout("amd64", &[])).unwrap(), []);
}

#[test]
fn what_docker_writes_now_is_read_as_the_layout_that_it_is() {
    let layers = [lower(), upper()];
    let mut parts = layout("amd64", &layers);
    parts.insert("manifest.json".to_owned(), b"[]".to_vec());
    assert_eq!(read(&parts).unwrap(), both());
}

#[test]
fn old_layers_may_be_links_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image.tar");
    let parts = saved(&[lower(), lower()]);
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    for (name, bytes) in &parts {
        let mut header = tar::Header::new_gnu();
        if name == "1/layer.tar" {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder
                .append_link(&mut header, name, "../0/layer.tar")
                .unwrap();
        } else {
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, &bytes[..]).unwrap();
        }
    }
    builder.finish().unwrap();
    let tree = oci(&path, directory.path(), &mut |_| {}).unwrap();
    assert_eq!(files(&tree).len(), 4);
}

#[test]
fn of_several_platforms_that_of_the_machines_is_taken() {
    let mut parts = Parts::new();
    let described = |parts: &mut Parts, architecture: &str, layer: Vec<u8>| {
        let mut manifest = image(parts, architecture, &[layer]);
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifest
    };
    let arm = described(&mut parts, "arm64", lower());
    let own = described(&mut parts, "amd64", tar(&[("own", "own")]));
    let mut attests = described(&mut parts, "unknown", tar(&[]));
    attests["platform"]["os"] = "unknown".into();
    // What is for others is often not saved.
    let digits = arm["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    parts.remove(&format!("blobs/sha256/{digits}"));
    let inner = put(
        &mut parts,
        INDEX,
        index(&[arm.clone(), own, attests.clone()]),
    );
    parts.insert("index.json".to_owned(), index(&[inner]));
    assert_eq!(
        read(&parts).unwrap(),
        [("own".to_owned(), "own".to_owned())]
    );
    let inner = put(&mut parts, INDEX, index(&[arm, attests]));
    parts.insert("index.json".to_owned(), index(&[inner]));
    assert_eq!(
        refused(&parts),
        "it has nothing for linux/amd64, only for linux/arm64; get it with `--platform linux/amd64`",
    );
}

#[test]
fn the_config_counts_where_the_index_is_silent() {
    for layers in [layout("arm64", &[lower()]), layout("ppc64le", &[lower()])] {
        assert!(refused(&layers).contains("nothing for linux/amd64"));
    }
    let mut parts = saved(&[lower()]);
    let config = config("arm64", &[lower()]);
    parts.insert("config".to_owned(), config);
    let manifest = json!([{ "Config": "config", "Layers": ["0/layer.tar"] }]);
    parts.insert(
        "manifest.json".to_owned(),
        manifest.to_string().into_bytes(),
    );
    assert!(refused(&parts).contains("only for linux/arm64"));
}

#[test]
fn several_images_are_named() {
    let mut parts = Parts::new();
    let mut named = |name: &str, text: &str| {
        let mut manifest = image(&mut parts, "amd64", &[tar(&[(name, text)])]);
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        manifest
    };
    let manifests = [named("one", "1"), named("two", "2")];
    let again = {
        let mut again = manifests[0].clone();
        again["annotations"]["org.opencontainers.image.ref.name"] = "latest".into();
        again
    };
    parts.insert("index.json".to_owned(), index(&manifests));
    assert!(refused(&parts).contains("several images: one, two;"));
    parts.insert(
        "index.json".to_owned(),
        index(&[manifests[0].clone(), again]),
    );
    assert_eq!(read(&parts).unwrap().len(), 1, "one image of two names");
    let mut parts = saved(&[lower()]);
    let one: Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
    let mut two = one[0].clone();
    two["RepoTags"] = json!(["app:2"]);
    let two = json!([one[0], two]).to_string().into_bytes();
    parts.insert("manifest.json".to_owned(), two);
    assert!(refused(&parts).contains("several images: app:1, app:2;"));
}

#[test]
fn whatever_part_is_damaged_missing_or_cut_is_named() {
    for parts in [
        layout("amd64", &[gzip(&lower()), upper()]),
        saved(&[gzip(&lower()), upper()]),
    ] {
        for name in parts
            .keys()
            .filter(|name| !matches!(&***name, "index.json" | "manifest.json"))
        {
            let mut missing = parts.clone();
            missing.remove(name);
            let error = refused(&missing);
            assert!(
                error.contains(name.as_str()) && error.contains("missing"),
                "{error}"
            );
            for at in [0, parts[name].len() / 2, parts[name].len() - 1] {
                let mut changed = parts.clone();
                changed.get_mut(name).unwrap()[at] ^= 1;
                let error = read(&changed).unwrap_err().to_string() + &refused(&changed);
                assert!(error.contains(name.as_str()), "{error}");
            }
            let mut cut = parts.clone();
            cut.get_mut(name).unwrap().pop();
            let error = read(&cut).unwrap_err().to_string() + &refused(&cut);
            assert!(error.contains(name.as_str()), "{error}");
        }
    }
    let mut parts = layout("amd64", &[lower()]);
    let layer = store::blob(&digest(&lower()));
    parts.get_mut(&layer).unwrap()[600] ^= 1;
    let error = refused(&parts);
    assert!(
        error.contains("its digest is sha256:") && error.contains("save the image again"),
        "{error}"
    );
}

#[test]
fn a_layer_that_is_no_archive_is_named() {
    let text = b"no archive at all".to_vec();
    let name = store::blob(&digest(&text));
    let error = read(&layout("amd64", &[text])).unwrap_err();
    let said = format!("{error}: {}", error.source().unwrap());
    assert!(said.contains(&name) && said.contains("cut short"), "{said}");
    let out = layout(
        "amd64",
        &[{
            let mut bytes = tar(&[("aa/passwd", "x")]);
            bytes[..2].copy_from_slice(b"..");
            // The sum of the header, made right again.
            let mut header = tar::Header::from_byte_slice(&bytes[..512]).clone();
            header.set_cksum();
            bytes[..512].copy_from_slice(header.as_bytes());
            bytes
        }],
    );
    assert!(refused(&out).contains("out of the tree"));
}

#[test]
fn what_is_no_image_is_named() {
    let file = |name: &str, text: &str| Parts::from([(name.to_owned(), text.as_bytes().to_vec())]);
    assert!(refused(&file("etc/passwd", "x")).contains("neither an OCI image layout"));
    assert!(refused(&file("manifest.json", "[]")).contains("neither an OCI image layout"));
    assert!(refused(&file("index.json", "{")).contains("`index.json` makes no sense"));
    assert!(refused(&file("index.json", r#"{"manifests":[]}"#)).contains("nothing at all"));
    let mut parts = Parts::new();
    let config = put(
        &mut parts,
        "application/vnd.cncf.helm.config.v1+json",
        b"{}".to_vec(),
    );
    let manifest = json!({ "config": config, "layers": [] })
        .to_string()
        .into_bytes();
    let manifest = put(&mut parts, MANIFEST, manifest);
    parts.insert("index.json".to_owned(), index(&[manifest]));
    assert!(refused(&parts).contains("`application/vnd.cncf.helm.config.v1+json`"));
    let escaping =
        json!({ "mediaType": MANIFEST, "digest": "sha256:../../../etc/passwd", "size": 1 });
    let parts = Parts::from([("index.json".to_owned(), index(&[escaping]))]);
    assert!(refused(&parts).contains("the only one that attest can check"));
}

#[test]
fn descriptions_that_do_not_end_are_refused() {
    let mut parts = Parts::new();
    parts.insert("index.json".to_owned(), vec![b' '; 5 << 20]);
    assert!(refused(&parts).contains("bytes in a description"));
    let many = (0..=layout::MOST_MANIFESTS).map(|at| {
        let digest = digest(&at.to_le_bytes()).to_string();
        json!({ "mediaType": "x", "digest": digest, "size": at })
    });
    parts.insert("index.json".to_owned(), index(&many.collect::<Vec<_>>()));
    assert!(refused(&parts).contains("more than 1000 manifests"));
    // One within the other, and each a thousand times over.
    let mut inner = put(&mut parts, "x", Vec::new());
    for _ in 0..100 {
        inner = put(&mut parts, INDEX, index(&vec![inner; 1000]));
    }
    parts.insert("index.json".to_owned(), index(&[inner]));
    assert!(refused(&parts).contains("`x`"));
    let layers = vec![tar(&[]); MOST_LAYERS + 1];
    assert!(refused(&layout("amd64", &layers)).contains("more than 1024 layers"));
    let deep = "[".repeat(100_000).into_bytes();
    assert!(refused(&Parts::from([("index.json".to_owned(), deep)])).contains("makes no sense"));
}

#[test]
fn a_layer_that_stays_where_it_is_may_not_change() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in layout("amd64", &[lower()]) {
        let path = directory.path().join("image").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let path = directory.path().join("image");
    let mut steps = Vec::new();
    let tree = oci(&path, directory.path(), &mut |step| steps.push(step)).unwrap();
    let last = steps.pop().unwrap().bytes.unwrap();
    assert_eq!(
        (last.done, last.total),
        (lower().len() as u64, lower().len() as u64)
    );
    fs::write(path.join(store::blob(&digest(&lower()))), [0; 4096]).unwrap();
    let contents = tree.get("etc/a").unwrap().contents().unwrap();
    assert!(
        contents
            .read(9)
            .unwrap_err()
            .to_string()
            .contains("changed")
    );
}

#[test]
fn a_full_disk_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let text = "x".repeat(100_000);
    let layer = gzip(&tar(&[("large", &text)]));
    for (name, bytes) in layout("amd64", &[layer]) {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let path = directory.path();
    crate::cache::tests::on_a_small_disk(|disk| {
        let error = oci(path, disk, &mut |_| {}).unwrap_err();
        assert!(matches!(error, ImageError::Full { .. }), "{error}");
        let archive = path.join("root.tar.gz");
        fs::write(&archive, gzip(&tar(&[("large", &text)]))).unwrap();
        let error = crate::source::archive(&archive, disk, &mut |_| {}).unwrap_err();
        assert!(matches!(error, ImageError::Full { .. }), "{error}");
    });
}

/// Whether this ran; not where the program is missing.
fn ran(directory: &Path, words: &[&str]) -> bool {
    let mut command = std::process::Command::new(words[0]);
    let output = command.args(&words[1..]).current_dir(directory).output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: there is no {}", words[0]);
        return false;
    };
    assert!(output.status.success(), "{words:?}: {output:?}");
    true
}

#[test]
fn images_of_other_tools_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let run = |words: &str| {
        let words: Vec<_> = words.split(' ').collect();
        ran(directory.path(), &words)
    };
    let root = directory.path().join("bundle/rootfs");
    if !run("umoci init --layout oci") {
        return;
    }
    run("umoci new --image oci:t");
    run("umoci unpack --rootless --image oci:t bundle");
    fs::create_dir(root.join("etc")).unwrap();
    for name in ["etc/gone", "etc/kept"] {
        fs::write(root.join(name), name).unwrap();
    }
    run("umoci repack --refresh-bundle --image oci:t bundle");
    fs::remove_file(root.join("etc/gone")).unwrap();
    fs::write(root.join("etc/new"), "etc/new").unwrap();
    run("umoci repack --image oci:t bundle");
    let wanted = ["etc/kept", "etc/new"].map(|name| (name.to_owned(), name.to_owned()));
    let read = |name: &str| {
        let path = directory.path().join(name);
        files(&oci(&path, directory.path(), &mut |_| {}).unwrap())
    };
    assert_eq!(read("oci"), wanted);
    let copy = "skopeo copy --insecure-policy --quiet";
    if run(&format!("{copy} oci:oci:t docker-archive:docker.tar:app:1")) {
        run(&format!(
            "{copy} --dest-compress-format zstd oci:oci:t oci-archive:oci.tar:t"
        ));
        assert_eq!(read("docker.tar"), wanted);
        assert_eq!(read("oci.tar"), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_description_makes_it_panic(flips in prop::collection::vec((0_usize..5000, any::<u8>()), 1..4), old in any::<bool>()) {
        let mut parts = if old { saved(&[lower()]) } else { layout("amd64", &[lower()]) };
        let name = if old { "manifest.json" } else { "index.json" };
        let bytes = parts.get_mut(name).unwrap();
        for (at, byte) in flips {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = read(&parts);
    }
}
