//! The stub's packages and systems are built, before anything of attest's is built with them.

use std::fs;

use attest_fixture::nix::Nix;

#[test]
fn a_system_is_built_with_its_closure() {
    for nix in Nix::all(&crate::tested()) {
        let packages = nix.packages();
        let built = nix.build(&format!(
            "let pkgs = {packages}; in pkgs.closureInfo {{ rootPaths = [ \
               (pkgs.nixos {{ networking.hostName = \"small\"; boot.kernel.enable = false; }}).config.system.build.toplevel ]; }}"
        ));
        let built =
            built.unwrap_or_else(|failure| panic!("Nix {}: {}", nix.version, failure.stderr));
        let paths = fs::read_to_string(built.join("store-paths")).unwrap();
        assert!(paths.contains("-nixos-system-small-stub\n"), "{paths}");
        assert!(paths.contains("-busybox\n"), "{paths}");
        assert!(!paths.contains("-linux-"), "{paths}");
        for path in paths.lines() {
            assert!(nix.on_the_host(path).exists(), "{path}");
        }
    }
}
