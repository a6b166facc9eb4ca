// Live pages: bars move with the events; where a state changes, the page's own markup is fetched anew and put in place,
// so that the server alone decides what a page says.
"use strict";

(() => {
  const REFRESH_AFTER = 150; // milliseconds, so that one refresh shows several changes
  const RETRY_AFTER = 1000;
  const SNAPSHOT = 500; // milliseconds within which the present state has come
  const SPEED_OVER = 5000; // milliseconds over which a rate is taken
  const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

  let isSettled = false; // whether all that was under way when the stream began has been told
  const works = new Map(); // build -> artifact -> its latest event
  const samples = new Map(); // build and artifact -> [moment, bytes] pairs
  let refreshTimer = null;
  let isRefreshing = false;
  let isRefreshWanted = false;

  function inBytes(count) {
    let unit = 0;
    while (count >= 1024 && unit < UNITS.length - 1) {
      count /= 1024;
      unit += 1;
    }
    return `${unit === 0 || count >= 100 ? count.toFixed(0) : count.toFixed(1)} ${UNITS[unit]}`;
  }

  function inTime(seconds) {
    if (seconds < 1) return "less than a second";
    if (seconds < 60) return `${Math.ceil(seconds)} s`;
    if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
    return `${(seconds / 3600).toFixed(1)} h`;
  }

  // Bytes a second over the last moments; null while that cannot be told.
  function speedOf(key, done) {
    if (!isSettled) return null; // what is told of it at first did not come in this moment
    const now = performance.now();
    const seen = (samples.get(key) || []).filter(([moment]) => now - moment < SPEED_OVER);
    seen.push([now, done]);
    samples.set(key, seen);
    const [begun, before] = seen[0];
    return now - begun > 300 && done > before ? ((done - before) * 1000) / (now - begun) : null;
  }

  function sumOf(artifacts) {
    let done = 0;
    let total = 0;
    for (const artifact of artifacts.values()) {
      done += artifact.bytes_done;
      total += artifact.bytes_total;
    }
    return { bytes_done: done, bytes_total: total };
  }

  function show(row, key, { bytes_done: done, bytes_total: total }) {
    const bar = row.querySelector("progress");
    const doneText = row.querySelector("[data-done]");
    if (!bar || !doneText) return;
    bar.max = total || 1;
    bar.value = total ? done : 0;
    doneText.textContent = inBytes(done);
    row.querySelector("[data-total]").textContent = inBytes(total);
    const speed = speedOf(key, done);
    row.querySelector("[data-speed]").textContent =
      speed === null ? "" : `, ${inBytes(speed)}/s, ${inTime((total - done) / speed)} left`;
  }

  function showBuild(build) {
    const artifacts = works.get(build);
    for (const row of document.querySelectorAll("[data-build]")) {
      if (row.dataset.build !== build || !artifacts) continue;
      const name = row.dataset.artifact;
      if (name === undefined) show(row, build, sumOf(artifacts));
      else if (artifacts.has(name)) show(row, `${build}\n${name}`, artifacts.get(name));
    }
  }

  function take(data) {
    if (!works.has(data.build)) works.set(data.build, new Map());
    const artifacts = works.get(data.build);
    const before = artifacts.get(data.artifact);
    artifacts.set(data.artifact, data);
    if ([...artifacts.values()].every((artifact) => FINAL_STATES.has(artifact.state))) works.delete(data.build);
    const isShown = [undefined, data.build].includes(document.querySelector("[data-live]")?.dataset.of);
    const isNews = !before || before.state !== data.state || before.trouble !== data.trouble;
    if (isShown && isNews) scheduleRefresh(REFRESH_AFTER);
    showBuild(data.build);
  }

  function scheduleRefresh(after) {
    if (refreshTimer === null) refreshTimer = setTimeout(refresh, after);
  }

  // Puts the page's live part in place of what is shown.
  async function refresh() {
    refreshTimer = null;
    if (isRefreshing) {
      isRefreshWanted = true;
      return;
    }
    isRefreshing = true;
    try {
      const asked = filterText();
      const answer = await fetch(address(), { headers: { Accept: "text/html" }, cache: "no-store" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // What stands in front of a devserver that is not there, or what took its place, has other pages.
      if (!page.querySelector('meta[name="application-name"][content="devserver"]') || answer.status >= 500) {
        throw new Error(answer.statusText);
      }
      put(page);
      if (filterText() !== asked) isRefreshWanted = true; // typed meanwhile
      tell("");
    } catch {
      tell("The devserver does not answer. This page goes on by itself when it does.");
      scheduleRefresh(RETRY_AFTER);
    } finally {
      isRefreshing = false;
      if (isRefreshWanted) {
        isRefreshWanted = false;
        scheduleRefresh(REFRESH_AFTER);
      }
    }
  }

  // Where the page is that is shown; after something else was typed into the filter, that of the builds that it finds.
  function address() {
    const url = new URL(location.href);
    const words = filterText().trim();
    if (!isFoundElsewhere() || words === (url.searchParams.get("name") || "").trim()) return url.href;
    url.search = words ? new URLSearchParams({ name: words }) : "";
    history.replaceState(null, "", url);
    return url.href;
  }

  // Whether what the filter finds may be on another page, so that the server has to look.
  function isFoundElsewhere() {
    const form = document.querySelector("form.filter");
    return form !== null && !("whole" in form.dataset);
  }

  // Where the build is gone, all of the page that says so.
  function put(page) {
    const field = document.activeElement.id === "filter" ? document.activeElement : null;
    const selected = field && [field.selectionStart, field.selectionEnd];
    const focused = placeOf(document.activeElement);
    const text = filterText();
    const part = ["[data-live]", "main"].find((name) => page.querySelector(name) && document.querySelector(name));
    document.querySelector(part).replaceWith(document.adoptNode(page.querySelector(part)));
    prepare(text);
    for (const build of works.keys()) showBuild(build);
    if (focused) document.querySelector(focused)?.focus();
    if (selected) document.getElementById("filter")?.setSelectionRange(...selected);
  }

  // A selector that finds the same field, link or button in the page as it will be; nothing for all else.
  function placeOf(element) {
    const quoted = (text) => `"${CSS.escape(text)}"`;
    let own = "";
    if (element.id) own = `[id=${quoted(element.id)}]`;
    else if (element.matches("a[href]")) own = `a[href=${quoted(element.getAttribute("href"))}]`;
    else if (element.matches("button[value]")) own = `button[value=${quoted(element.value)}]`;
    const row = own && element.closest("[data-artifact]");
    return row ? `[data-artifact=${quoted(row.dataset.artifact)}] ${own}` : own;
  }

  function tell(text) {
    const notice = document.getElementById("notice");
    if (!notice) return;
    notice.textContent = text;
    notice.hidden = !text;
  }

  function filterText() {
    const field = document.getElementById("filter");
    return field ? field.value : "";
  }

  function filterRows() {
    if (isFoundElsewhere()) return;
    const words = filterText().toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.querySelectorAll(".build")];
    for (const row of rows) {
      const name = row.querySelector("a").textContent.toLowerCase();
      row.hidden = !words.every((word) => name.includes(word));
    }
    const count = rows.filter((row) => !row.hidden).length;
    document.getElementById("shown").textContent = !words.length ? ""
      : count ? `${count} of ${rows.length} shown` : `No build's name contains “${words.join(" ")}”.`;
  }

  function addCopyButton(command) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(command.querySelector("code")); // not allowed: it is one key away
        button.textContent = "Selected";
      }
    });
    command.append(button);
  }

  // What scripts add to the page's markup.
  function prepare(text) {
    const field = document.getElementById("filter");
    if (field) {
      field.value = text;
      field.form.hidden = false;
      field.form.querySelector("button").hidden = true; // it is filtered as one types
      field.addEventListener("input", () => {
        if (isFoundElsewhere()) scheduleRefresh(REFRESH_AFTER);
        else filterRows();
      });
      filterRows();
    }
    document.querySelectorAll(".command").forEach(addCopyButton);
  }

  function listen() {
    let wasLost = false;
    followEvents((kind, data) => {
      if (kind === "artifact") take(data);
      else if (kind === "removed") scheduleRefresh(REFRESH_AFTER);
      else if (kind === "lost") {
        wasLost = true;
        scheduleRefresh(RETRY_AFTER);
      } else {
        begin(wasLost);
        wasLost = false;
      }
    });
  }

  // The stream is there; what is under way is told next, but not what ended since the page was made, or the stream lost.
  function begin(isAgain) {
    isSettled = false;
    samples.clear();
    setTimeout(() => { isSettled = true; }, SNAPSHOT);
    if (isAgain) works.clear();
    if (isAgain || isAnythingUnderWay()) scheduleRefresh(0);
  }

  function isAnythingUnderWay() {
    const rows = [...document.querySelectorAll("[data-live] .artifact")];
    return document.querySelector("[data-live] .work") || rows.some((row) => !FINAL_STATES.has(row.dataset.state));
  }

  prepare(filterText());
  listen();
})();
