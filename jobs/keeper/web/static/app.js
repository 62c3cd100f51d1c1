// Updates of the page. Without it everything is there, as it was when the page was loaded.
"use strict";

const MOST_PARTS = 20; // of a log, in the page at once
const box = document.getElementById("log-box");
const section = document.getElementById("log");

function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      time.title = time.textContent;
      time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
    }
  }
}

function copyButtons(root) {
  if (!navigator.clipboard) return;
  for (const button of root.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
}

function say(text) {
  const place = document.getElementById("connection");
  if (place.textContent !== text) place.textContent = text;
}

async function fetchDocument(url) {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (answer.status === 401) say("This page is no longer signed in: run `rayjobs page` again.");
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// The regions that change are fetched with the page itself and put in place.
const nameOf = (element) => element.getAttribute("href") || element.getAttribute("aria-label");
let busy = false, again = false;
async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const fresh = await fetchDocument(location.pathname + location.search);
    for (const old of fresh ? document.querySelectorAll("[data-live]") : []) {
      const now = fresh.getElementById(old.id);
      if (!now || old.contains(document.getSelection().anchorNode) && !document.getSelection().isCollapsed) continue;
      localTimes(now);
      if (now.innerHTML === old.dataset.shown) continue;
      const shown = now.innerHTML;
      const focused = old.contains(document.activeElement) && nameOf(document.activeElement);
      old.toggleAttribute("data-running", now.hasAttribute("data-running"));
      old.replaceChildren(...now.childNodes);
      old.dataset.shown = shown;
      copyButtons(old);
      if (focused) [...old.querySelectorAll("a, button, [tabindex]")].find((each) => nameOf(each) === focused)?.focus();
    }
  } catch { /* The stream says that the connection is gone. */ }
  busy = false;
  if (again) { again = false; later(refresh); }
}

let waiting = 0;
function later(work) {
  clearTimeout(waiting);
  waiting = setTimeout(work, 400);
}

// The log: parts are loaded at both ends, and those that are far away are dropped. The links do the same as scrolling:
// lines that fill less than the box cannot be scrolled.
const parts = () => box.querySelectorAll(":scope > .part");
function showLinks() {
  const known = parts(), first = known[0], last = known[known.length - 1];
  for (const link of document.querySelectorAll("[data-more]")) {
    const edge = link.dataset.more === "later" ? last : first;
    link.hidden = !edge || edge.dataset[link.dataset.more] === undefined;
  }
  const bytes = document.getElementById("log-bytes");
  if (first) bytes.textContent = `Bytes ${first.dataset.start} to ${last.dataset.stop} of ${last.dataset.total}.`;
}

const isAtEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < 8;

async function loadPart(query) {
  const find = section.dataset.find ? "&find=" + encodeURIComponent(section.dataset.find) : "";
  const fresh = await fetchDocument(section.dataset.log + "?" + query + find);
  return fresh && fresh.querySelector(".part");
}

let loading = false;
async function extend(isLater) {
  const known = parts();
  const edge = known[isLater ? known.length - 1 : 0];
  const at = edge && (isLater ? edge.dataset.later : edge.dataset.earlier);
  if (loading || at === undefined) return;
  loading = true;
  try {
    const part = await loadPart((isLater ? "from=" : "before=") + at);
    if (part && isLater) {
      box.append(part);
      while (parts().length > MOST_PARTS) {
        const height = parts()[0].offsetHeight;
        parts()[0].remove();
        box.scrollTop -= height;
      }
    } else if (part) {
      const before = box.scrollHeight;
      box.prepend(part);
      box.scrollTop += box.scrollHeight - before;
      while (parts().length > MOST_PARTS) parts()[parts().length - 1].remove();
    }
    showLinks();
  } finally {
    loading = false;
  }
}

async function growLog() {
  if (!box) { location.reload(); return; } // The first lines of the log.
  const known = parts(), last = known[known.length - 1];
  if (!last || last.dataset.later !== undefined) return;
  if (loading) { setTimeout(growLog, 500); return; }
  loading = true;
  const follows = isAtEnd();
  try {
    const part = await loadPart("from=" + last.dataset.start);
    // A part that was full stays as it is, but now there is one after it.
    if (part && (part.dataset.stop !== last.dataset.stop || part.dataset.later !== undefined)) last.replaceWith(part);
    showLinks();
  } finally {
    loading = false;
  }
  if (follows) {
    await extend(true);
    box.scrollTop = box.scrollHeight;
  }
}

async function jump(query, isEnd) {
  const part = await loadPart(query);
  if (!part) return;
  box.replaceChildren(part);
  showLinks();
  box.scrollTop = isEnd ? box.scrollHeight : 0;
  box.focus();
}

function watchLog() {
  const found = box.querySelector("mark");
  if (found) found.scrollIntoView({ block: "center" });
  else if (!location.search) box.scrollTop = box.scrollHeight;
  for (const link of document.querySelectorAll("[data-more]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      extend(link.dataset.more === "later");
    });
  }
  box.addEventListener("scroll", () => {
    if (box.scrollTop < 300) extend(false);
    else if (box.scrollHeight - box.scrollTop - box.clientHeight < 300) extend(true);
  });
  for (const link of document.querySelectorAll("[data-jump]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const isEnd = link.dataset.jump === "end";
      jump(isEnd ? "end" : "from=0", isEnd);
    });
  }
}

// A browser has few connections to one host: only the page that is seen has a stream.
let source = null, newest = document.body.dataset.event;
function listen() {
  if (source) source.close();
  if (document.visibilityState !== "visible") return;
  const job = section && section.dataset.job;
  const kinds = ["status", "why", "removed", "head_replaced"].map((kind) => "&kind=" + kind).join("");
  source = new EventSource("/v1/events?after=" + newest + (job ? "&job=" + job : kinds));
  source.onopen = () => say("Updates by itself");
  source.onerror = () => {
    say("No connection: trying again");
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(listen, 5000);
    refresh(); // It says so if this page is no longer signed in.
  };
  source.onmessage = (message) => {
    newest = message.lastEventId || newest;
    const event = JSON.parse(message.data);
    if ((event.kind === "log" || event.kind === "missed") && section) growLog();
    if (event.kind !== "log") later(refresh);
  };
}

localTimes(document);
for (const region of document.querySelectorAll("[data-live]")) region.dataset.shown = region.innerHTML;
copyButtons(document);
if (box) watchLog();
if (document.querySelector("[data-live]")) {
  listen();
  document.addEventListener("visibilitychange", listen);
  setInterval(() => {
    const changes = document.querySelector("[data-running], #live-jobs .s-running, #live-jobs .s-pending");
    if (changes && document.visibilityState === "visible") refresh();
  }, 15000);
}
