//! Writes what the fuzzers begin with: `fuzz/corpus/TARGET/seed-N`.

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, _) in attest_fuzz::TARGETS {
        let directory = corpus.join(target);
        fs::create_dir_all(&directory)?;
        for (number, seed) in attest_fuzz::seeds(target).iter().enumerate() {
            fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
