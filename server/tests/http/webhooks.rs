//! Webhooks: what they hear, how it is signed, tried again and given up, and what they cannot reach.

use crate::scene::{Scene, pick};
use laurel_protocol::*;
use laurel_server::{
    clock,
    store::webhooks::{self, Tried},
    webhooks::{Reach, send_due, signature},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread::JoinHandle,
};

/// A receiver that answers each request with the next of these statuses; gives head and body of each.
fn receiver(answers: &'static [u16]) -> (String, JoinHandle<Vec<(String, String)>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let heard = std::thread::spawn(move || {
        let hear = |status: &u16| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            let mut body = vec![0; length.unwrap()];
            reader.read_exact(&mut body).unwrap();
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nlocation: /other\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            (head, String::from_utf8(body).unwrap())
        };
        answers.iter().map(hear).collect()
    });
    (url, heard)
}

async fn scene() -> Scene {
    let scene = Scene::with_tasks(1).await;
    scene
        .answer(&scene.admin, |shown| pick(Choice::First, shown))
        .await;
    scene
}

async fn hook(scene: &Scene, url: &str, events: &[HookEvent]) -> CreatedWebhook {
    let new = NewWebhook {
        url: url.to_owned(),
        events: events.to_vec(),
    };
    scene.admin.make(&scene.path("/webhooks"), &new).await
}

async fn deliveries(scene: &Scene) -> Vec<Delivery> {
    let hooks: Vec<Webhook> = scene.admin.get(&scene.path("/webhooks")).await.json();
    hooks.into_iter().flat_map(|hook| hook.deliveries).collect()
}

/// A round that warns of something, twice the same, and fails.
async fn fail(scene: &Scene) {
    let (job, holder) = scene.lease_round().await;
    let path = |rest: &str| format!("/worker/jobs/{}/{rest}", job.job_id);
    for at in [1, 2] {
        let report = Report {
            log: vec![LogLine {
                at: Timestamp(at),
                level: LogLevel::Warning,
                text: "the KL runs away".into(),
            }],
            ..Report::default()
        };
        let _: Directive = holder.make(&path("report"), &report).await;
    }
    let failed = Outcome::Failed {
        error: "out of memory".into(),
    };
    assert_eq!(holder.post(&path("finish"), &failed).await.status, 204);
}

#[tokio::test]
async fn a_webhook_hears_what_it_asked_for_once_and_signed() {
    let scene = scene().await;
    let (url, heard) = receiver(&[200, 204]);
    let made = hook(&scene, &url, &[HookEvent::RoundFailed, HookEvent::Alarm]).await;
    fail(&scene).await;
    scene.train().await; // nobody asked for rounds that are done
    send_due(&scene.app.db, Reach::Private).await.unwrap();
    let heard = heard.join().unwrap();
    let bodies: Vec<Value> = heard
        .iter()
        .map(|(_, body)| serde_json::from_str(body).unwrap())
        .collect();
    assert_eq!(
        (&bodies[0]["event"], &bodies[0]["text"]),
        (&json!("alarm"), &json!("the KL runs away"))
    );
    assert_eq!(
        (&bodies[1]["event"], &bodies[1]["text"], &bodies[1]["round_name"]),
        (&json!("round_failed"), &json!("out of memory"), &json!("DPO 1"))
    );
    for (head, body) in &heard {
        let head = head.to_lowercase();
        let signed = head
            .lines()
            .find_map(|line| line.strip_prefix("laurel-signature: "))
            .unwrap();
        let at = signed.strip_prefix("t=").unwrap().split(',').next().unwrap();
        assert_eq!(
            signed,
            signature(&made.secret, Timestamp(at.parse().unwrap()), body)
        );
        assert!(head.contains("laurel-delivery: "), "{head}");
        assert!(!body.contains(&made.secret));
    }
    let all = deliveries(&scene).await;
    assert!(
        all.iter().all(|one| one.status == DeliveryStatus::Sent),
        "{all:?}"
    );
    assert_eq!(
        all.iter().map(|one| one.http_status).collect::<Vec<_>>(),
        [Some(204), Some(200)]
    );
    assert!(
        !scene
            .admin
            .get(&scene.path("/webhooks"))
            .await
            .text()
            .contains(&made.secret)
    );
}

/// The code is that of Python's `hmac.new(b"0123abcd", b'1700000000000.{"event":"test"}', "sha256")`.
#[test]
fn a_signature_is_hmac_sha256_of_time_and_body() {
    let signed = signature("0123abcd", Timestamp(1_700_000_000_000), r#"{"event":"test"}"#);
    let code = "31793082ada613e5e8b083b686404c6acda4be8cd46767f43c73f83b7d321a09";
    assert_eq!(signed, format!("t=1700000000000,v1={code}"));
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_through_a_restart_and_given_up_in_the_end() {
    let scene = scene().await;
    let (url, heard) = receiver(&[302]);
    let made = hook(&scene, &url, &[HookEvent::RoundDone]).await;
    let path = format!("/webhooks/{}/test", made.webhook.id);
    let _: Webhook = scene.admin.make(&path, &json!({})).await;
    send_due(&scene.app.db, Reach::Private).await.unwrap();
    let first = deliveries(&scene).await.remove(0);
    assert_eq!(
        (first.status, first.n_attempts, first.http_status),
        (DeliveryStatus::Pending, 1, Some(302)),
        "no redirect is followed"
    );
    assert!(
        webhooks::due(&scene.app.db, clock::now())
            .await
            .unwrap()
            .is_empty(),
        "it waits"
    );
    let scene = scene.restart().await;
    let db = &scene.app.db;
    let mut now = clock::now();
    let mut waits = Vec::new();
    for n in 2..=7 {
        let next = deliveries(&scene).await.remove(0).next_at.unwrap();
        waits.push(next.0 > now.0);
        now = next;
        let due = webhooks::due(db, now).await.unwrap();
        assert_eq!(due.len(), 1, "try {n}");
        webhooks::tried(db, &due[0], &Tried::Answered(500), now)
            .await
            .unwrap();
    }
    assert!(waits.iter().all(|later| *later));
    let last = deliveries(&scene).await.remove(0);
    assert_eq!(
        (last.status, last.n_attempts, last.next_at),
        (DeliveryStatus::Failed, 7, None)
    );
    heard.join().unwrap();
}

#[tokio::test]
async fn a_webhook_reaches_no_private_address_unless_the_server_was_told_to() {
    let scene = scene().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let made = hook(
        &scene,
        &format!("http://localhost:{}/", address.port()),
        &[HookEvent::Alarm],
    )
    .await;
    let _: Webhook = scene
        .admin
        .make(&format!("/webhooks/{}/test", made.webhook.id), &json!({}))
        .await;
    send_due(&scene.app.db, Reach::Public).await.unwrap();
    assert!(listener.accept().is_err(), "nobody came");
    let error = deliveries(&scene).await.remove(0).error;
    assert_eq!(error, Some(NoAnswer::NowhereAllowed));
}

#[tokio::test]
async fn a_webhook_is_changed_and_removed_with_what_it_was_to_hear() {
    let scene = scene().await;
    let made = hook(&scene, "https://example.org/a", &[HookEvent::RoundFailed]).await;
    let id = made.webhook.id;
    let json = scene.admin.with("content-type", "application/json");
    let change = json!({"url": "https://example.org/b", "events": ["round_paused"]}).to_string();
    let changed: Webhook = json.send("PUT", &format!("/webhooks/{id}"), change).await.json();
    assert_eq!(
        (changed.url.as_str(), changed.events),
        ("https://example.org/b", vec![HookEvent::RoundPaused])
    );
    let bad = json!({"url": "file:///etc/passwd", "events": ["alarm"]}).to_string();
    let refused = json.send("PUT", &format!("/webhooks/{id}"), bad).await;
    assert_eq!(refused.problem().fields[0].field, "url");
    let _: Webhook = scene
        .admin
        .make(&format!("/webhooks/{id}/test"), &json!({}))
        .await;
    assert_eq!(
        scene
            .admin
            .send("DELETE", &format!("/webhooks/{id}"), "")
            .await
            .status,
        204
    );
    assert_eq!(deliveries(&scene).await, []);
    assert!(
        webhooks::due(&scene.app.db, clock::now())
            .await
            .unwrap()
            .is_empty()
    );
}
