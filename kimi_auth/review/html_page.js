// Tabs by the URL's fragment; a row lights up its arrow and an arrow its row. Without this script the page is one long
// document with the same content.
const sections = [...document.querySelectorAll("main > section")];
const tabs = [...document.querySelectorAll("nav a")];
document.documentElement.classList.add("js");

function show() {
  const name = decodeURIComponent(location.hash.slice(1));
  const shown = sections.find((section) => section.id === name) ?? sections[0];
  for (const section of sections) section.toggleAttribute("data-shown", section === shown);
  for (const tab of tabs) {
    if (tab.hash === "#" + shown.id) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  // On a phone the bar and the pictures are wider than the screen: scroll to this tab, and to where a walk begins.
  for (const bar of document.querySelectorAll("nav")) center(bar, bar.querySelector("[aria-current]"));
  for (const picture of shown.querySelectorAll(".scroll")) center(picture, picture.querySelector(".dot"));
}
function center(box, part) {
  const [outer, inner] = [box.getBoundingClientRect(), part.getBoundingClientRect()];
  box.scrollLeft += inner.x + inner.width / 2 - outer.x - outer.width / 2;
}
addEventListener("hashchange", show);
addEventListener("popstate", show);
show();

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

// A row's arrow is often off screen. The lens then shows it: a copy of the picture, scrolled to this arrow, at the end of
// the window where the row is not.
const lens = document.body.appendChild(document.createElement("div"));
lens.id = "lens";
lens.setAttribute("aria-hidden", "true");
function isSeen(arrow) {
  const { top, bottom, left, right } = arrow.querySelector("text").getBoundingClientRect();
  const bar = document.querySelector("nav").getBoundingClientRect().bottom;
  return top >= bar && bottom <= innerHeight && left >= 0 && right <= innerWidth;
}
function showLens(row, arrows) {
  lens.replaceChildren();
  if (!arrows.length || arrows.some(isSeen)) return;
  const copy = arrows[0].ownerSVGElement.cloneNode(true);
  for (const named of copy.querySelectorAll("[id]")) named.removeAttribute("id");
  lens.append(copy);
  const box = row.getBoundingClientRect();
  lens.className = box.top + box.bottom > innerHeight ? "above" : "below";
  const [inner, outer] = [copy.querySelector(".edge.lit text").getBoundingClientRect(), lens.getBoundingClientRect()];
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
  const on = (element, events, act) => {
    for (const event of events) element.addEventListener(event, act);
  };
  for (const row of rows) {
    const keys = [row.dataset.edge];
    on(row, ["mouseenter", "focus"], () => {
      light(keys, true);
      showLens(row, arrows.filter((arrow) => arrow.classList.contains("lit")));
    });
    on(row, ["mouseleave", "blur"], () => {
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
      row?.focus({ preventScroll: true });
    });
  }
}
