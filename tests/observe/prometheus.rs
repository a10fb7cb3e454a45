//! Prometheus itself, from the system's packages: it takes what is served, and so does its linter.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    process::{Child, Command, Stdio},
};

use catena_mqtt::Version;
use catena_tests::{
    client::{Message, Options},
    cluster::{Cluster, Plan, new_directory, wait_for},
    http::get,
};

use crate::metrics::{PATIENCE, ports::free_port};

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `promtool check metrics` says of a text.
fn check(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("make test installs promtool: tests/setup/prometheus.sh");
    let mut input = promtool.stdin.take().expect("it is piped");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

// A scrape that Prometheus refuses is no metrics at all; one that it takes with warnings is wrong in a way that nobody reads.
#[test]
fn prometheus_scrapes_every_process_and_its_linter_is_content() {
    let cluster = Cluster::start(Plan::redundancy(2));
    let mut client = Options::new(Version::V5, "client").open_at(cluster.brokers()[0]);
    client.subscribe("t/#", 1);
    client.publish(&Message::new("t/1", "x").qos(1));

    for (name, address) in cluster.metrics() {
        let (status, text) = get(*address, "/metrics").expect("it is served");
        assert_eq!(status, 200, "{name}");
        // Azure's names are what they are: no unit that Prometheus knows, no _total.
        let wrong: Vec<String> = check(&text)
            .lines()
            .filter(|line| !line.starts_with("aio_broker_"))
            .map(str::to_owned)
            .collect();
        assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        let families = text
            .lines()
            .filter(|line| line.starts_with("# TYPE "))
            .count();
        assert!(families > 10, "{name} has {families} metrics");
    }

    let directory = new_directory();
    let targets: Vec<String> = cluster
        .metrics()
        .values()
        .map(|at| format!("'{at}'"))
        .collect();
    let configuration = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: catena\n  static_configs:\n  - targets: [{}]\n",
        targets.join(", ")
    );
    let file = directory.join("prometheus.yml");
    fs::write(&file, configuration).expect("the directory can be written");
    let web = free_port();
    let log = fs::File::create(directory.join("log")).expect("the directory can be written");
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("data").display()
        ))
        .arg(format!("--web.listen-address={web}"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("make test installs prometheus");
    let prometheus = Running(prometheus);
    let wanted: BTreeSet<String> = cluster
        .metrics()
        .values()
        .map(ToString::to_string)
        .collect();
    wait_for("all targets to be up", 3 * PATIENCE, || {
        let (_, body) = get(web, "/api/v1/targets")?;
        // The body may come in chunks.
        let (from, to) = (
            body.find('{').ok_or("no body")?,
            body.rfind('}').ok_or("no body")?,
        );
        let json: serde_json::Value =
            serde_json::from_str(&body[from..=to]).map_err(|error| error.to_string())?;
        let targets = json["data"]["activeTargets"]
            .as_array()
            .ok_or("no targets")?;
        let up = targets.iter().filter(|target| target["health"] == "up");
        let up: BTreeSet<String> = up
            .filter_map(|target| target["labels"]["instance"].as_str().map(str::to_owned))
            .collect();
        if up == wanted {
            return Ok(());
        }
        Err(format!("{targets:#?}"))
    });
    let log = fs::read_to_string(directory.join("log")).expect("it was made");
    drop(prometheus);
    let _ = fs::remove_dir_all(&directory);
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| {
            line.contains("scrape") && (line.contains("level=warn") || line.contains("level=error"))
        })
        .collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    cluster.stop();
}
