//! What a BrokerAuthorization allows, and by which of its rules.

use std::fs;

use catena_tests::{
    admin::Admin,
    broker::{Broker, Settings},
};

const POLICY: &str = r#"
apiVersion: catena.dev/v1
kind: BrokerAuthorization
metadata: { name: sites }
spec:
  authorizationPolicies:
    rules:
      - principals:
          attributes: [{ site: north }]
        brokerResources:
          - method: Connect
          - method: Publish
            topics: ["site/{principal.attributes.site}/{principal.clientId}/#"]
"#;

// Whoever writes rules would have to try them on live clients.
#[test]
fn a_manifest_is_tried_before_it_is_applied() {
    let broker = Broker::start(
        &Settings::shards(1)
            .argument("--admin")
            .argument("127.0.0.1:0"),
    );
    let admin = Admin::of(&broker);
    let directory = std::env::temp_dir().join(format!("catena-access-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("policy.yaml");
    fs::write(&file, POLICY).unwrap();
    let file = file.to_str().unwrap();
    let explain = |more: &[&str]| {
        let arguments = [&["explain-access", "--as", "s1", "-f", file], more].concat();
        let output = admin.run(&arguments);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code().unwrap(),
            String::from_utf8(said).unwrap(),
        )
    };
    let north = ["--attribute", "site=north"];
    let (code, said) = explain(&[&north[..], &["publish", "site/north/s1/t"]].concat());
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("rules[0].brokerResources[1].topics[0]"),
        "{said}"
    );
    assert!(said.contains("site/north/s1/#"), "{said}");
    let (code, said) = explain(&[&north[..], &["publish", "site/south/s1/t"]].concat());
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("denied by sites"), "{said}");
    let (code, said) = explain(&["connect"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("not about this client"), "{said}");
    assert_eq!(explain(&[&north[..], &["connect"]].concat()).0, 0);
    let (code, said) = explain(&[&north[..], &["subscribe", "site/#/x"]].concat());
    assert_eq!(code, 2, "{said}");
    let said = admin.fail(&[
        "explain-access",
        "--as",
        "s1",
        "--policy",
        "none",
        "connect",
    ]);
    assert!(said.contains("no BrokerAuthorization called"), "{said}");
    fs::remove_dir_all(directory).unwrap();
}
