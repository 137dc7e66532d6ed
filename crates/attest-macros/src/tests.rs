//! What mistakes are told, and what is made of what is right.

use quote::quote;

use super::{Attribute, Tokens, expanded};

fn message(attribute: Attribute, arguments: &str, function: &str) -> String {
    let parse = |text: &str| text.parse::<Tokens>().unwrap();
    match expanded(attribute, parse(arguments), parse(function)) {
        Ok(made) => panic!("this is accepted: {made}"),
        Err(error) => error.to_string(),
    }
}

fn made(attribute: Attribute, arguments: &str, function: &str) -> String {
    let parse = |text: &str| text.parse::<Tokens>().unwrap();
    let made = expanded(attribute, parse(arguments), parse(function)).unwrap();
    let file: syn::File = syn::parse2(made).unwrap();
    let text = quote!(#file).to_string();
    text.replace(" ; ", " ;\n").replace("{ ", "{\n")
}

const TEST: Attribute = Attribute::Test;
const SETUP: Attribute = Attribute::Setup;
const PLAIN: &str = "async fn f(lab: &Lab) {}";

#[test]
fn wrong_arguments_are_told() {
    let test = |arguments| message(TEST, arguments, PLAIN);
    let setup = |arguments| message(SETUP, arguments, PLAIN);
    insta::assert_snapshot!(test("machines = 3"), @"unknown argument; there are `manifest`, `lab`, `setup` and `snapshots`");
    insta::assert_snapshot!(setup("setup = x"), @"unknown argument; there are `manifest`, `lab` and `after`");
    insta::assert_snapshot!(setup(r#"snapshots = "never""#), @"unknown argument; there are `manifest`, `lab` and `after`");
    insta::assert_snapshot!(test("after = x"), @"unknown argument; there are `manifest`, `lab`, `setup` and `snapshots`");
    insta::assert_snapshot!(test("lab"), @"it needs a value: `lab = …`");
    insta::assert_snapshot!(test("manifest = 3"), @"the manifest's path is a string literal");
    insta::assert_snapshot!(test(r#"snapshots = "auto""#), @r#"there is only `snapshots = "never"`: the test boots a lab of its own"#);
    insta::assert_snapshot!(test(r#"snapshots = "never", snapshots = "never""#), @"it is there already");
    insta::assert_snapshot!(test("setup = make()"), @"a set-up is named by its path, as `database` or `support::database`");
}

#[test]
fn there_is_one_lab_and_it_is_named_on_the_first_set_up() {
    let test = |arguments| message(TEST, arguments, PLAIN);
    let setup = |arguments| message(SETUP, arguments, PLAIN);
    insta::assert_snapshot!(test(r#"lab = one(), manifest = "x""#), @"a test has one lab: give `manifest` or `lab`, once");
    insta::assert_snapshot!(test("setup = x, lab = one()"), @"a test has the lab of its set-up: leave out `manifest` and `lab` beside `setup`, and name the lab on the first set-up");
    insta::assert_snapshot!(setup(r#"manifest = "x", after = x"#), @"a set-up has the lab of its set-up: leave out `manifest` and `lab` beside `after`, and name the lab on the first set-up");
    insta::assert_snapshot!(setup("after = x, after = y"), @"a set-up begins from one set-up");
}

#[test]
fn wrong_functions_are_told() {
    let test = |function| message(TEST, "setup = x", function);
    insta::assert_snapshot!(test("fn f() {}"), @"a test takes the lab: `fn f(lab: attest::Lab)` or `fn f(lab: &attest::Lab)`");
    insta::assert_snapshot!(test("fn f(&self) {}"), @"a test is a free function, not a method");
    insta::assert_snapshot!(test("fn f(lab: Lab, rows: u32, more: u32) {}"), @"a test takes the lab, and what its set-up returned; no more");
    insta::assert_snapshot!(test("fn f<T>(lab: Lab, rows: T) {}"), @"a test has no generic parameters");
    insta::assert_snapshot!(message(TEST, "", "fn f(lab: Lab, rows: u32) {}"), @"a second argument is what a set-up returned: name the set-up, as `#[attest::test(setup = database)]`");
    insta::assert_snapshot!(message(SETUP, "", "fn f(lab: Lab, rows: u32) {}"), @"a second argument is what a set-up returned: name the set-up, as `#[attest::setup(after = database)]`");
    insta::assert_snapshot!(message(SETUP, "", "fn f(lab: Lab) -> impl Outcome {}"), @"a set-up names the type that it returns: `()` or a `Result`");
    insta::assert_snapshot!(message(SETUP, "", "struct F;"), @"expected `fn`");
}

#[test]
fn a_test_is_run_from_its_set_up() {
    let made = made(
        TEST,
        r#"setup = support::database, snapshots = "never""#,
        "#[ignore] pub(crate) async fn rows(lab: &Lab, rows: u32) -> Result<()> { Ok(()) }",
    );
    insta::assert_snapshot!(made, @r#"
    # [ignore] # [:: core :: prelude :: v1 :: test] pub (crate) fn rows () {
    # [allow (clippy :: needless_pass_by_value)] async fn rows (lab : & Lab , rows : u32) -> Result < () > {
    Ok (()) } :: attest :: harness :: run (:: core :: concat ! (:: core :: module_path ! () , "::" , :: core :: stringify ! (rows)) , < support :: database as :: attest :: harness :: Setup > :: chain () , :: core :: option :: Option :: Some (:: attest :: SnapshotUse :: Never) , | lab , value | :: std :: boxed :: Box :: pin (async move {
    let state = :: attest :: harness :: state :: < support :: database > (value) ? ;
    :: attest :: harness :: Outcome :: outcome (rows (& lab , state) . await) }) ,) }
    "#);
}

#[test]
fn a_set_up_is_a_type_beside_its_function() {
    let made = made(
        SETUP,
        "after = database",
        "/// Words.\npub fn indexed(lab: Lab, rows: &u32) -> Result<State> { Ok(State) }",
    );
    insta::assert_snapshot!(made, @r#"
    # [allow (clippy :: needless_pass_by_value)] # [doc = " Words."] pub fn indexed (lab : Lab , rows : & u32) -> Result < State > {
    Ok (State) } # [doc (hidden)] # [allow (non_camel_case_types , dead_code)] pub enum indexed {
    } impl :: attest :: harness :: Setup for indexed {
    type State = < Result < State > as :: attest :: harness :: Outcome > :: Value ;
    const NAME : & 'static str = :: core :: concat ! (:: core :: module_path ! () , "::" , :: core :: stringify ! (indexed)) ;
    const DEPTH : usize = 1 + < database as :: attest :: harness :: Setup > :: DEPTH ;
    fn chain () -> :: attest :: harness :: Chain {
    const _ : usize = < indexed as :: attest :: harness :: Setup > :: DEPTH ;
    < database as :: attest :: harness :: Setup > :: chain () . then (Self :: NAME , | lab , value | :: std :: boxed :: Box :: pin (async move {
    let state = :: attest :: harness :: state :: < database > (value) ? ;
    :: attest :: harness :: kept (:: attest :: harness :: blocking (move | | indexed (lab , & state)) . await) })) } }
    "#);
}

#[test]
fn labs_are_of_manifests_and_of_builders() {
    for (arguments, expected) in [
        ("", ". join (\"attest.toml\")"),
        (r#"manifest = "x.toml""#, ". join (\"x.toml\")"),
        ("lab = one()", "Source :: Builder"),
    ] {
        let made = made(SETUP, arguments, PLAIN);
        assert!(made.contains(expected), "{made}");
        assert!(made.contains("const DEPTH : usize = 1 ;"), "{made}");
    }
}
