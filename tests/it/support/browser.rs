//! A real browser without a window, driven by the `WebDriver` protocol: a few HTTP calls, so no crate for it.

use super::guarded::{Account, Guarded, free_port, program};
use super::wait::{PATIENCE, poll_until};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use std::path::Path;

/// The key under which the protocol names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One window of Chromium, which is closed with it.
pub struct Browser {
    driver: String,
    session: String,
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
    _driver: Guarded,
}

impl Browser {
    pub fn open(width: u32, height: u32) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        program("chromium", &[], "chromium");
        let account = Account::Ours;
        let (port, directory) = (free_port(), account.directory("nudged-browser-"));
        let mut command = account.command(&program("chromedriver", &["/usr/lib/chromium".into()], "chromium-driver"));
        command.arg(format!("--port={port}"));
        command.env("HOME", &directory).env("TMPDIR", &directory);
        let guarded = Guarded::start(directory.clone(), "TERM", &command);
        assert!(guarded.became_ready(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut browser = Self {
            driver: format!("http://127.0.0.1:{port}"),
            session: String::new(),
            runtime,
            client,
            _driver: guarded,
        };
        let arguments = json!([
            "--headless=new",
            // The sandbox needs what containers and root don't have; the pages are our own.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-proxy-server",
            format!("--user-data-dir={}", directory.join("profile").display()),
        ]);
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let session = browser.call("POST", "/session", Some(wanted));
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        // As a phone has it: what is written is as wide as the screen, not as a small window of a desktop.
        browser.command(
            "POST",
            "/goog/cdp/execute",
            json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": {
                "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
            }}),
        );
        browser
    }

    fn call(&self, method: &str, path: &str, body: Option<Json>) -> Json {
        self.runtime.block_on(async {
            let request = self.client.request(method.parse().unwrap(), format!("{}{path}", self.driver));
            let request = if let Some(body) = body { request.json(&body) } else { request };
            let answer: Json = request.send().await.unwrap().json().await.unwrap();
            assert!(answer["value"]["error"].is_null(), "{method} {path}: {answer}");
            answer["value"].clone()
        })
    }

    fn command(&self, method: &str, path: &str, body: Json) -> Json {
        let body = (method == "POST").then_some(body);
        self.call(method, &format!("{}{path}", self.session), body)
    }

    pub fn go(&self, url: &str) {
        self.command("POST", "/url", json!({"url": url}));
    }

    fn elements(&self, css: &str) -> Vec<String> {
        let found = self.command("POST", "/elements", json!({"using": "css selector", "value": css}));
        found.as_array().unwrap().iter().map(|element| element[ELEMENT].as_str().unwrap().to_owned()).collect()
    }

    /// Clicks the one element that this selects.
    pub fn click(&self, css: &str) {
        let found = self.elements(css);
        assert_eq!(found.len(), 1, "`{css}` in:\n{}", self.text());
        self.command("POST", &format!("/element/{}/click", found[0]), json!({}));
    }

    pub fn count(&self, css: &str) -> usize {
        self.elements(css).len()
    }

    /// What a reader sees.
    pub fn text(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap().to_owned()
    }

    pub fn wait_for(&self, text: &str) {
        poll_until(PATIENCE, || self.text().contains(text));
    }

    pub fn run(&self, script: &str) -> Json {
        self.command("POST", "/execute/sync", json!({"script": script, "args": []}))
    }

    /// What the browser complained of: blocked by the policy, not found, and so on.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", json!({"type": "browser"}));
        let entries = log.as_array().unwrap().iter();
        entries.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// As a PNG.
    pub fn screenshot(&self, file: &Path) {
        let picture = self.command("GET", "/screenshot", Json::Null);
        std::fs::write(file, STANDARD.decode(picture.as_str().unwrap()).unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.command("DELETE", "", Json::Null);
        }
    }
}
