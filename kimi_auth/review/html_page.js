// Tabs and addresses by the URL's fragment: #machine.state.outcome opens the tab and lights row and arrow. A row lights up its
// arrow and an arrow its row. Without this script the page is one long document with the same content.
const sections = [...document.querySelectorAll("main > section")];
const tabs = [...document.querySelectorAll("nav a")];
document.documentElement.classList.add("js");
const element = (name, properties = {}, ...parts) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...parts);
  return made;
};

const unknown = element("p", { id: "unknown", hidden: true });
unknown.setAttribute("role", "status");
document.querySelector("main").prepend(unknown);

function show() {
  const address = decodeURIComponent(location.hash.slice(1)) || pageData.opened;
  const isWalk = /^(walk|to|story)\//.test(address);
  const target = isWalk ? null : document.getElementById(address);
  unknown.hidden = isWalk || target !== null;
  unknown.textContent = unknown.hidden ? "" : `This page has no address “${address}”.`;
  const shown = sections.find((one) => (isWalk ? one.id === "walk" : one.contains(target))) ?? sections[0];
  for (const section of sections) section.toggleAttribute("data-shown", section === shown);
  for (const tab of tabs) {
    if (tab.hash === "#" + shown.id) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  // On a phone the bar and the pictures are wider than the screen: scroll to this tab, and to where a walk begins.
  for (const bar of document.querySelectorAll("nav")) center(bar, bar.querySelector("[aria-current]"));
  for (const picture of shown.querySelectorAll(".scroll")) center(picture, picture.querySelector(".dot"));
  for (const lit of document.querySelectorAll(".addressed")) lit.classList.remove("addressed");
  lens.replaceChildren();
  kept.remove();
  if (isWalk || shown.id === "walk") player.open(isWalk ? address : "");
  if (!target || target === shown) {
    scrollTo(0, 0);
    return;
  }
  for (let around = target; around; around = around.parentElement) if (around.localName === "details") around.open = true;
  const row = target.closest("tr");
  row?.classList.add("addressed");
  const arrows = arrowsOf(shown, row?.dataset.edge);
  for (const arrow of arrows) arrow.classList.add("addressed");
  const settle = () => {
    (row ?? target).scrollIntoView({ block: "center" });
    keepLens(row, arrows);
  };
  settle();
  // While the page is loaded, the browser's own jump to the fragment comes after this script.
  if (document.readyState !== "complete") addEventListener("load", () => setTimeout(settle), { once: true });
}
function center(box, part) {
  if (!part) return;
  const [outer, inner] = [box.getBoundingClientRect(), part.getBoundingClientRect()];
  box.scrollLeft += inner.x + inner.width / 2 - outer.x - outer.width / 2;
}
function arrowsOf(section, key) {
  return [...section.querySelectorAll("g[data-edges]")].filter((one) => one.dataset.edges.split(" ").includes(key));
}

// A jump to a fragment moves the keyboard focus away from the tab; changing the history entry ourselves keeps it there.
document.querySelector("nav").addEventListener("click", (click) => {
  if (!click.target.hash || click.ctrlKey || click.metaKey) return;
  click.preventDefault();
  history.pushState(null, "", click.target.hash);
  show();
});
document.querySelector("nav").addEventListener("keydown", (key) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[key.key];
  const at = tabs.indexOf(document.activeElement);
  if (step && at >= 0) tabs[(at + step + tabs.length) % tabs.length].focus();
});

// The sign # of a row is its address: a click copies it whole.
document.querySelector("main").addEventListener("click", (click) => {
  const link = click.target.closest?.("a.here");
  if (link) navigator.clipboard?.writeText(link.href).catch(() => {});
});

// A row's arrow is often off screen. The lens then shows it: a copy of the picture, scrolled to this arrow, at the end of
// the window where the row is not, as long as the row is pointed at. That of the addressed row stays, so it has a row of its
// own in the table and covers none.
const lens = document.body.appendChild(element("div", { id: "lens", className: "lens" }));
lens.setAttribute("aria-hidden", "true");
const keptLens = element("div", { className: "lens" });
const kept = element("tr", { className: "kept" }, element("td", { colSpan: 99 }, keptLens));
kept.setAttribute("aria-hidden", "true");
function isSeen(arrow) {
  const { top, bottom, left, right } = arrow.querySelector("text").getBoundingClientRect();
  const bar = document.querySelector("nav").getBoundingClientRect().bottom;
  return top >= bar && bottom <= innerHeight && left >= 0 && right <= innerWidth;
}
function showLens(row, arrows) {
  lens.replaceChildren();
  if (!row || row.nextSibling === kept || !arrows.length || arrows.some(isSeen)) return;
  const box = row.getBoundingClientRect();
  lens.className = `lens ${box.top + box.bottom > innerHeight ? "above" : "below"}`;
  fillLens(lens, arrows);
}
function keepLens(row, arrows) {
  if (!row || !arrows.length || arrows.some(isSeen)) return;
  row.after(kept);
  fillLens(keptLens, arrows);
  row.scrollIntoView({ block: "center" });
}
function fillLens(lens, arrows) {
  lens.replaceChildren();
  const copy = arrows[0].ownerSVGElement.cloneNode(true);
  for (const named of copy.querySelectorAll("[id]")) named.removeAttribute("id");
  copy.style.width = "";
  lens.append(copy);
  const [inner, outer] = [copy.querySelector(".edge.lit text, .edge.addressed text").getBoundingClientRect(), lens.getBoundingClientRect()];
  lens.scrollLeft += inner.x + inner.width / 2 - outer.x - outer.width / 2;
  lens.scrollTop += inner.y + inner.height / 2 - outer.y - outer.height / 2;
}

for (const section of sections) {
  const rows = [...section.querySelectorAll("tr[data-edge]")];
  const arrows = [...section.querySelectorAll("g[data-edges]")];
  const light = (keys, on) => {
    for (const row of rows) if (keys.includes(row.dataset.edge)) row.classList.toggle("lit", on);
    for (const arrow of arrows) {
      if (arrow.dataset.edges.split(" ").some((key) => keys.includes(key))) arrow.classList.toggle("lit", on);
    }
  };
  const on = (target, events, act) => {
    for (const event of events) target.addEventListener(event, act);
  };
  for (const row of rows) {
    const keys = [row.dataset.edge];
    on(row, ["mouseenter", "focusin"], () => {
      light(keys, true);
      showLens(row, arrows.filter((arrow) => arrow.classList.contains("lit")));
    });
    on(row, ["mouseleave", "focusout"], () => {
      light(keys, false);
      lens.replaceChildren();
    });
  }
  for (const arrow of arrows) {
    const keys = arrow.dataset.edges.split(" ");
    on(arrow, ["mouseenter"], () => light(keys, true));
    on(arrow, ["mouseleave"], () => light(keys, false));
    on(arrow, ["click"], () => {
      const row = rows.find((one) => keys.includes(one.dataset.edge));
      row?.scrollIntoView({ block: "center" });
      row?.querySelector("a.here")?.focus({ preventScroll: true });
    });
  }
}

// Pictures fit their window; the buttons make them larger and smaller.
function zoomable(frame) {
  const picture = frame.querySelector("svg");
  let scale = 0; // 0: it fits
  const set = (to) => {
    scale = to;
    picture.style.maxWidth = scale ? "none" : "";
    picture.style.minWidth = scale ? "0" : "";
    picture.style.width = scale ? `${picture.viewBox.baseVal.width * scale}px` : "";
  };
  const now = () => scale || picture.getBoundingClientRect().width / picture.viewBox.baseVal.width;
  const button = (text, label, act) => {
    const made = element("button", { type: "button", textContent: text, title: label, onclick: act });
    made.setAttribute("aria-label", label);
    return made;
  };
  const bar = element("div", { className: "zoom screen" });
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "size of the picture");
  bar.append(
    button("fit", "fit the window", () => set(0)),
    button("1:1", "full size", () => set(1)),
    button("−", "smaller", () => set(Math.max(0.2, now() / 1.25))),
    button("+", "larger", () => set(Math.min(4, now() * 1.25))),
  );
  frame.before(bar);
}
for (const frame of document.querySelectorAll("figure .scroll")) zoomable(frame);

// The faults are many: a search shows those in which every word occurs.
const search = document.getElementById("faults-search");
search?.addEventListener("input", () => {
  const parts = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const group of document.querySelectorAll("#faults details.group")) {
    let here = 0;
    for (const row of group.querySelectorAll("tbody tr")) {
      const text = (group.firstChild.textContent + row.textContent).toLowerCase();
      row.hidden = !parts.every((word) => text.includes(word));
      here += !row.hidden;
    }
    group.hidden = !here;
    group.open = parts.length > 0 && here > 0;
    found += here;
  }
  document.getElementById("faults-found").textContent = parts.length ? `${found} found` : "";
});

// On paper nothing can be unfolded.
const folded = () => [...document.querySelectorAll("details.group:not([open])")];
let unfolded = [];
addEventListener("beforeprint", () => {
  unfolded = folded();
  for (const group of unfolded) group.open = true;
});
addEventListener("afterprint", () => {
  for (const group of unfolded) group.open = false;
});

const pageData = JSON.parse(document.getElementById("page-data").textContent);
