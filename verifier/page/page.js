"use strict";
const $ = (id) => document.getElementById(id);
const wasm = Uint8Array.from(atob($("wasm").textContent.trim()), (char) => char.charCodeAt(0));
const code = URL.createObjectURL(new Blob([$("worker").textContent], { type: "text/javascript" }));
let running = null;

const COUNTS = [
  ["whole", "whole, and what was recorded"],
  ["erased_in_part", "with fields erased, each explained by a record"],
  ["erased", "erased, explained by a record"],
  ["context_dropped", "without address and device, whose time was over"],
  ["dropped", "dropped when their time was over, explained by a record"],
  ["set_aside", "set aside on arrival"],
  ["successions", "that open a log"],
  ["not_yet_sequenced", "stored, and under no head yet"],
  ["records", "records of removals"],
  ["unexplained", "missing without a record"],
  ["lost", "lost with a restored backup, as is on record"],
];

$("file").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  target.value = ""; // the same file may be chosen again, with other keys
  if (file) verify(file);
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) verify(event.dataTransfer.files[0]);
});

function verify(file) {
  running?.terminate();
  const started = performance.now();
  const keys = $("keys").value.split("\n").map((line) => line.trim()).filter(Boolean);
  // A head ends with its signatures, and the next one begins with an origin.
  const heads = $("heads").value.trim() ? $("heads").value.trim().split(/(?<=\n— .*)\n+(?!— )/).map((head) => `${head.trim()}\n`) : [];
  $("result").hidden = true;
  $("work").hidden = false;
  $("bar").value = 0;
  $("doing").textContent = `Reading ${file.name}`;
  running = new Worker(code);
  running.onmessage = ({ data }) => {
    if (data.of !== undefined) {
      $("bar").max = Math.max(data.of, 1);
      $("bar").value = data.done;
      $("doing").textContent = `${data.done.toLocaleString()} of ${data.of.toLocaleString()} entries`;
      return;
    }
    running.terminate();
    $("work").hidden = true;
    if (data.error !== undefined) failed(file, data.error);
    else show(file, data.report, (performance.now() - started) / 1000);
  };
  running.onerror = (event) => {
    $("work").hidden = true;
    failed(file, event.message);
  };
  running.postMessage({ wasm, file, trust: { keys, heads } });
}

function failed(file, message) {
  blank();
  verdict("bad", `${file.name} could not be verified`);
  $("first").textContent = message;
}

function show(file, report, seconds) {
  blank();
  const entries = report.report.counts.entries;
  const took = `${entries.toLocaleString()} entries in ${seconds.toFixed(1)} s`;
  const lost = report.report.counts.lost.toLocaleString();
  const verdicts = {
    nothing: ["bad", `${file.name}: there was nothing to verify`],
    valid: ["good", `${file.name} verifies: ${took}`],
    restored: ["bad", `${file.name} holds, and ${lost} entries are lost with a restored backup, as is on record: ${took}`],
    invalid: ["bad", `${file.name} does not verify: ${report.wrong.toLocaleString()} findings`],
  };
  verdict(...verdicts[report.verdict]);
  $("first").textContent = report.first ? `First: ${report.first}` : "";
  $("word").textContent = report.on_its_own_word
    ? "Checked against the keys in the bundle itself. With a key or a head that you kept, this would also show that it is the log you know."
    : "";
  for (const [name, words] of COUNTS) {
    const count = report.report.counts[name];
    if (count || name === "whole" || name === "unexplained") row($("counts").tBodies[0], words, count.toLocaleString(), ["unexplained", "lost"].includes(name) && count ? "bad" : "");
  }
  for (const log of report.report.logs) {
    const known = report.logs.find((one) => one.log === log.log);
    const table = document.createElement("table");
    table.createCaption().textContent = `Log ${known?.origin ?? log.log}, ${log.size.toLocaleString()} entries`;
    const body = table.createTBody();
    for (const check of ["signature", "tree", "tiles", "consistency", "succession", "openings", "inclusion"]) {
      row(body, check, log[check], { passed: "good", failed: "bad" }[log[check]] ?? "");
    }
    if (known) row(body, "key", known.key, "");
    $("logs").append(table);
  }
  if (report.findings.length) {
    const list = document.createElement("ol");
    for (const finding of report.findings) list.append(item(finding));
    $("findings").append(list);
  }
  $("notes").append(...report.report.notes.map(item));
}

function blank() {
  $("result").hidden = false;
  for (const id of ["first", "word", "logs", "findings", "notes"]) $(id).replaceChildren();
  $("counts").tBodies[0].replaceChildren();
}

function verdict(kind, words) {
  $("verdict").className = kind;
  $("verdict").textContent = words;
  $("result").focus();
}

function row(body, words, value, kind) {
  const line = body.insertRow();
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = words;
  const cell = document.createElement("td");
  cell.className = /^[\d.,\s]+$/.test(value) ? `number ${kind}` : kind;
  cell.textContent = value;
  line.append(head, cell);
}

function item(words) {
  const line = document.createElement("li");
  line.textContent = words;
  return line;
}
