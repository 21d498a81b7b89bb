//! Bodies that are large, come in parts, or are only a part.

use crate::raw::{chunks, message};
use crate::scene::{Request, Scene, noise};

const LARGE: usize = 50_000_000;

#[tokio::test]
async fn a_large_download_arrives_whole() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream", noise(LARGE)));
    scene.same(&Request::new("GET")).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 201 Created", "{}"));
    let request = Request::new("PUT").header("Content-Type", "application/octet-stream");
    scene.same(&request.body(noise(LARGE))).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_form_with_files_arrives_as_it_is() {
    let scene = Scene::start().await;
    scene.origin.answers(message("HTTP/1.1 200 OK", "{\"success\":true}"));
    let mut body =
        b"--b0undary\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na b\r\n--b0undary\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
        Content-Type: application/octet-stream\r\n\r\n"
            .to_vec();
    body.extend_from_slice(&noise(300_000));
    body.extend_from_slice(b"\r\n--b0undary--\r\n");
    let request = Request::new("POST").header("Content-Type", "multipart/form-data; boundary=b0undary");
    scene.same(&request.body(body)).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn chunked_bodies_arrive_whole_in_both_directions() {
    let scene = Scene::start().await;
    let mut answer =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let noise = noise(400_000);
    answer.extend(chunks([&b"[1,"[..], b"2", &noise, b"]"]));
    scene.origin.answers(answer);
    scene.same(&Request::new("POST").chunked(&[b"{\"a\"", b":", b"1}"])).await;
    scene.same(&Request::new("GET")).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_arrives_whole() {
    let scene = Scene::start().await;
    scene
        .origin
        .answers("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nas it comes");
    scene.same(&Request::new("GET")).await;
    scene.audited_everything().await;
}

#[tokio::test]
async fn a_part_of_a_file_stays_that_part() {
    let scene = Scene::start().await;
    let head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/100\r\nAccept-Ranges: bytes\r\nETag: \"v1\"";
    scene.origin.answers(message(head, "56789"));
    scene.same(&Request::new("GET").header("Range", "bytes=5-9").header("If-Range", "\"v1\"")).await;
    let head = "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */100";
    scene.origin.answers(message(head, ""));
    scene.same(&Request::new("GET").header("Range", "bytes=200-")).await;
    scene.audited_everything().await;
}
