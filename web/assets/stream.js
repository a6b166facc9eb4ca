// The stream of all builds' events, one for all of a browser's tabs: it opens few connections to one server. This file
// is what runs in the worker that the tabs share, and what each tab follows it with.
"use strict";

const STREAM = "/api/v1/events";
const OPENED_AGAIN_AFTER = 1000; // milliseconds
const FINAL_STATES = new Set(["staged", "failed", "absent", "cancelled"]);

// Calls tell(kind, data) with all that happens: "open", "artifact", "removed", "lost". Gives what ends that.
function openStream(tell) {
  let stream = null;
  function open() {
    stream = new EventSource(STREAM);
    stream.addEventListener("open", () => tell("open"));
    for (const kind of ["artifact", "removed"]) {
      stream.addEventListener(kind, (event) => tell(kind, JSON.parse(event.data)));
    }
    stream.addEventListener("error", () => {
      tell("lost");
      if (stream.readyState === EventSource.CLOSED) setTimeout(open, OPENED_AGAIN_AFTER);
    });
  }
  open();
  return () => stream.close();
}

// The same for a tab, by the worker where the browser has such.
function followEvents(tell) {
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  if (typeof SharedWorker === "undefined") {
    addEventListener("pagehide", openStream(tell));
    return;
  }
  const { port } = new SharedWorker("/assets/stream.js", "devserver");
  port.onmessage = ({ data: [kind, data] }) => tell(kind, data);
  addEventListener("pagehide", () => port.postMessage("this tab leaves"));
}

// In the worker: passes everything on, and tells a tab that comes later what is under way.
function shareStream() {
  const tabs = new Set();
  const works = new Map(); // build -> artifact -> its latest event
  let isOpen = false;

  function remember(data) {
    if (!works.has(data.build)) works.set(data.build, new Map());
    const artifacts = works.get(data.build);
    artifacts.set(data.artifact, data);
    if ([...artifacts.values()].every((artifact) => FINAL_STATES.has(artifact.state))) works.delete(data.build);
  }

  function tellAll(kind, data) {
    if (kind === "open" || kind === "lost") isOpen = kind === "open";
    if (kind === "open") works.clear(); // the server tells it all anew
    if (kind === "artifact") remember(data);
    for (const tab of tabs) tab.postMessage([kind, data]);
  }

  addEventListener("connect", ({ ports: [tab] }) => {
    tab.onmessage = () => tabs.delete(tab);
    if (isOpen) tab.postMessage(["open"]);
    for (const artifacts of works.values()) {
      for (const data of artifacts.values()) tab.postMessage(["artifact", data]);
    }
    tabs.add(tab);
  });
  openStream(tellAll);
}

if (typeof SharedWorkerGlobalScope !== "undefined") shareStream();
