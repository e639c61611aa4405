// Follows the log that grows, and renews the page when what it shows has changed.
// Without it, the page reloads by itself (meta refresh) while the run goes on.

const MOST_NODES = 5000; // of a log on the page; the whole log has a page of its own
const NEAR_END = 40;

let source;
let timer;

function main() {
  return document.querySelector("main");
}

function append(log, parts) {
  const following = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR_END;
  for (const [style, text] of parts) {
    const span = document.createElement("span");
    span.className = style;
    span.textContent = text; // never as HTML
    log.append(span);
  }
  while (log.childNodes.length > MOST_NODES) log.firstChild.remove();
  if (following) log.scrollTop = log.scrollHeight;
}

async function renew() {
  stop();
  const before = main();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const after = fresh.querySelector("main");
    if (!after) throw new Error("no page");
    for (const folded of before.querySelectorAll("details[id]")) {
      const same = after.querySelector(`#${CSS.escape(folded.id)}`);
      if (same && folded.dataset.chosen) {
        same.open = folded.open;
        same.dataset.chosen = "yes";
      }
    }
    const focused = document.activeElement?.id;
    before.replaceWith(after);
    document.title = fresh.title;
    if (focused) document.getElementById(focused)?.focus();
  } catch {
    // The server is away for a moment: the next renewal tries again.
  }
  start();
}

function later(seconds) {
  clearTimeout(timer);
  timer = setTimeout(renew, seconds * 1000);
}

function stop() {
  clearTimeout(timer);
  source?.close();
  source = undefined;
}

function busy() {
  const element = document.activeElement;
  return element && ["INPUT", "SELECT"].includes(element.tagName);
}

function start() {
  const log = document.querySelector("pre[data-events]");
  const seconds = Number(main()?.dataset.renew ?? 0);
  if (!log) {
    if (seconds && !busy()) later(seconds);
    else if (seconds) timer = setTimeout(start, seconds * 1000);
    return;
  }
  log.scrollTop = log.scrollHeight;
  source = new EventSource(`${log.dataset.events}?from=${log.dataset.offset}`);
  source.addEventListener("log", (event) => append(log, JSON.parse(event.data)));
  source.addEventListener("restart", () => log.replaceChildren());
  source.addEventListener("changed", () => later(0));
  source.addEventListener("end", () => later(0));
  source.addEventListener("error", () => {
    if (source?.readyState === EventSource.CLOSED) later(seconds || 5); // refused, or gone
  });
}

document.addEventListener("click", (event) => {
  const folded = event.target.closest?.("summary")?.parentElement;
  if (folded) folded.dataset.chosen = "yes";
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) stop(); // a page that nobody sees holds no stream
  else if (main()?.dataset.renew) renew();
});
start();
