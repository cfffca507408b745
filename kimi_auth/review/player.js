
// --- the player ----------------------------------------------------------------------------------------------------
// A walk is a list of moments: where each process is, a sentence, the edges taken, and the disk (null: not followed). In the
// checker's world a move leads from one numbered state to another; everywhere else the machines alone are followed.
const walking = (({ machines, world, stories }) => {
  const parts = (node) => {
    const [machine, state] = node.split(".");
    return { machine, state, spec: machines[machine]?.states[state] };
  };
  const isRest = (node) => !parts(node).spec?.activity;
  const parentOf = {};
  for (const [name, machine] of Object.entries(machines)) {
    for (const [state, spec] of Object.entries(machine.states)) if (spec.walks) parentOf[spec.walks] ??= `${name}.${state}`;
  }
  const stackOf = (node) => {
    const parent = parentOf[parts(node).machine];
    return parent ? [...stackOf(parent), node] : [node];
  };
  const begin = (node) => ({ text: `begins in ${node}`, edges: [], stack: [node], world: null });
  const inWorld = (number, text, edges, rest) => {
    const node = world.locations[world.states[2 * number]];
    return { text, edges, stack: node ? stackOf(node) : rest ? [rest] : [], world: number };
  };
  const moves = (number) => {
    const flat = world.moves[number];
    const seen = {};
    return Array.from({ length: flat.length / 2 }, (_, at) => {
      const [text, word, edges] = world.labels[flat[2 * at]];
      seen[word] = (seen[word] ?? 0) + 1;
      return { word: seen[word] > 1 ? `${word}.${seen[word]}` : word, name: word, text, edges, target: flat[2 * at + 1] };
    });
  };
  // The next steps: the moves of the world, then the declared outcomes that its disk does not allow.
  const choices = (moment) => {
    const node = moment.stack.at(-1);
    const spec = node ? parts(node).spec : null;
    // The ends of a child come from walking it.
    const ends = new Set(Object.keys(machines[spec?.walks]?.states ?? {}));
    const own = Object.keys(spec?.on ?? {}).filter((one) => !ends.has(one));
    const declared = spec?.walks ? ["acquired", ...own] : own;
    const ofWorld = moment.world === null ? [] : moves(moment.world);
    const known = new Set(ofWorld.map((one) => one.name));
    const off = declared.filter((one) => !known.has(one)).map((one) => ({ word: one, name: one, text: "", off: true }));
    return [
      ...ofWorld.filter((one) => declared.includes(one.name)).map((one) => ({ ...one, kind: "outcome" })),
      ...off.map((one) => ({ ...one, kind: moment.world === null ? "outcome" : "off" })),
      ...ofWorld.filter((one) => !declared.includes(one.name)).map((one) => ({ ...one, kind: "world" })),
    ];
  };
  const along = (stack, outcome) => {
    const node = stack.at(-1);
    const { machine, spec } = parts(node);
    if (outcome === "acquired" && spec.walks) {
      return { stack: [...stack, `${spec.walks}.${machines[spec.walks].initial}`], edges: [] };
    }
    const after = [...stack.slice(0, -1), `${machine}.${spec.on[outcome]}`];
    const edges = [`${node}.${outcome}`];
    if (after.length === 1 || !isRest(after.at(-1))) return { stack: after, edges };
    const outer = along(after.slice(0, -1), parts(after.at(-1)).state); // a child's end is an outcome of its parent
    return { stack: outer.stack, edges: [...edges, ...outer.edges] };
  };
  const take = (moment, choice) => {
    if (choice.target === undefined) {
      const { stack, edges } = along(moment.stack, choice.name);
      const ends = edges.slice(1).map((edge) => ` -> ${edge.split(".").slice(0, 2).join(".")}`);
      const text = `${moment.stack.at(-1)} --${choice.name}--> ${ends.join("")}${ends.length ? " -> " : ""}${stack.at(-1)}`;
      return { text, edges, stack, world: null };
    }
    const last = choice.text.match(/(\w+\.\w+)(?: \(.*\))?$/)?.[1];
    const rest = choice.kind === "outcome" ? last : choice.name === "is-killed" ? "" : moment.stack[0];
    return inWorld(choice.target, choice.text, choice.edges, rest);
  };
  const start = (name) => {
    if (name === "world" && world) {
      return inWorld(0, "signed in a moment ago; no walk is under way", [], "token_lifecycle.fresh");
    }
    const node = machines[name] ? `${name}.${machines[name].initial}` : name;
    return parts(node).spec ? begin(node) : null;
  };
  // The moments of #walk/START/word/word/...; ends where a word is not possible.
  const follow = (taken) => {
    const walk = [start(taken[0])];
    if (!walk[0]) return [];
    for (const word of taken.slice(1)) {
      const choice = choices(walk.at(-1)).find((one) => one.word === word);
      if (!choice) break;
      walk.push(take(walk.at(-1), choice));
    }
    return walk;
  };
  // The taken of a shortest walk that ends with `edge`: in the world, else along the machine alone.
  const search = (from, next, isEnd) => {
    const seen = new Set([from.key]);
    for (let front = [[from, []]]; front.length; ) {
      const later = [];
      for (const [node, taken] of front) {
        for (const one of next(node)) {
          if (isEnd(one)) return [...taken, one.word];
          if (seen.has(one.key)) continue;
          seen.add(one.key);
          later.push([one, [...taken, one.word]]);
        }
      }
      front = later;
    }
    return null;
  };
  const wayTo = (edge) => {
    if (world) {
      const taken = search(
        { key: 0 },
        (node) => moves(node.key).map((one) => ({ ...one, key: one.target })),
        (one) => one.edges.includes(edge),
      );
      if (taken) return ["world", ...taken];
    }
    const { machine } = parts(edge);
    const rests = Object.keys(machines[machine]?.states ?? {}).map((state) => `${machine}.${state}`).filter(isRest);
    for (const first of [machine, ...rests, ...(parentOf[machine] ? [parentOf[machine].split(".")[0]] : [])]) {
      const at = start(first);
      const keyed = (moment, word) => ({ moment, word, key: moment.stack.join(">") });
      const next = ({ moment }) => choices(moment).map((one) => keyed(take(moment, one), one.word));
      const taken = at && search(keyed(at, ""), next, (one) => one.moment.edges.includes(edge));
      if (taken) return [first, ...taken];
    }
    return null;
  };
  // A recorded trace (NDJSON) or a counterexample of --verify, as a story.
  const parse = (text) => {
    const frames = [{ text: "as it was given", edges: [], at: { "": "" } }];
    for (const line of text.split("\n")) {
      let one = null;
      try {
        one = JSON.parse(line);
      } catch {}
      if (one && typeof one === "object" && typeof one.from === "string") {
        const [from, to] = [`${one.machine}.${one.from}`, `${one.machine}.${one.to}`];
        const known = parts(from).spec?.on?.[one.event] === one.to;
        const text = `${from} --${one.event}--> ${to}${known ? "" : " (these machines do not allow this step)"}`;
        frames.push({ text, edges: [`${from}.${one.event}`], at: { "": to } });
      } else if (/^\s*\d+\. /.test(line)) {
        frames.push({ text: line.replace(/^\s*\d+\. /, "").trim(), edges: [], at: {} });
      } else if (/^\s{7}\S/.test(line) && frames.length > 1) {
        frames.at(-1).text += ` ${line.trim()}`; // a folded line of the terminal
      }
    }
    let at = {};
    for (const frame of frames.slice(1).filter((one) => !one.edges.length)) {
      const who = frame.text.match(/^([A-H]): /)?.[1];
      for (const [, from, event] of frame.text.matchAll(/(\w+\.\w+) --(\w+)-->/g)) frame.edges.push(`${from}.${event}`);
      const found = frame.text.match(/finds (\w+), (\w+)/);
      if (found) frame.edges.push(`token_lifecycle.inspecting.${found[1]}`, `token_lifecycle.${found[1]}.${found[2]}`);
      const last = [...frame.text.matchAll(/> (\w+\.\w+)/g)].at(-1)?.[1];
      at = who ? { ...at, [who]: frame.text.includes("is killed") ? "" : last ?? at[who] ?? "" } : at;
      frame.at = at;
    }
    return frames.length > 1 ? { id: "given", title: "what you gave", rule: "", says: "", frames } : null;
  };
  const asMoment = (frame) => {
    const who = frame.text.match(/^([A-H]): /)?.[1] ?? Object.keys(frame.at)[0] ?? "";
    const node = frame.at[who] || Object.values(frame.at).find(Boolean) || "";
    return { ...frame, stack: node && parts(node).spec ? stackOf(node) : [], disk: frame.disk ?? null };
  };
  const diskOf = (moment) =>
    moment.disk ?? (typeof moment.world === "number" ? world.disks[world.states[2 * moment.world + 1]] : null);
  return { parts, isRest, choices, take, follow, wayTo, parse, asMoment, diskOf, columns: world?.columns, values: world?.values, stories };
})(pageData);

const player = (() => {
  const box = document.getElementById("player");
  let walk = []; // moments
  let taken = []; // of the address, a start and a word for each step; empty for a story
  let story = null;
  let page = 0; // of the story

  const open = (address) => {
    const [kind, ...rest] = address.split("/");
    story = null;
    if (kind === "story") {
      const found = [given, ...walking.stories].find((one) => one?.id === rest[0]);
      if (found) return read(found, Number(rest[1] ?? 0));
    }
    taken = kind === "walk" ? rest : kind === "to" ? walking.wayTo(rest.join("/")) : null;
    taken = taken?.length ? taken : [pageData.world ? "world" : Object.keys(pageData.machines)[0]];
    walk = walking.follow(taken);
    if (!walk.length) return address ? open("") : box.replaceChildren();
    const cut = walk.length < taken.length;
    taken = taken.slice(0, walk.length);
    if (kind === "to") history.replaceState(null, "", "#" + here());
    draw(cut ? "The rest of this address is not possible on these machines." : "");
  };
  const read = (found, at) => {
    story = found;
    walk = found.frames.map(walking.asMoment);
    page = Math.min(Math.max(at || 0, 0), walk.length - 1);
    draw("");
  };
  const here = () => (story ? `story/${story.id}/${page}` : `walk/${taken.join("/")}`);
  const moved = () => {
    history.replaceState(null, "", "#" + here());
    draw("");
  };
  const choose = (choice) => {
    walk.push(walking.take(walk.at(-1), choice));
    taken.push(choice.word);
    moved();
  };
  const back = (length) => {
    if (story || length < 1) return;
    walk.length = taken.length = length;
    moved();
  };
  const turn = (to) => {
    page = Math.min(Math.max(to, 0), walk.length - 1);
    moved();
  };

  // --- drawing ------------------------------------------------------------------------------------------------
  const draw = (note) => {
    const had = box.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const at = story ? page : walk.length - 1;
    const [now, before] = [walk[at], walk[at - 1]];
    box.replaceChildren(
      element("div", { className: "play" }, column(now, before, at, note), picture(walk.slice(0, at + 1))),
      more(),
    );
    // The keyboard stays where it was; a choice that is gone hands it to the first one.
    if (had) (box.querySelector(`[data-key="${CSS.escape(had)}"]`) ?? box.querySelector("button[data-key]"))?.focus();
  };
  const column = (now, before, at, note) => {
    const made = element("div", { className: "column" });
    if (story) {
      made.append(element("h3", { textContent: story.title }));
      if (story.rule) made.append(element("p", { textContent: `Its last step breaks ${story.rule}. ${story.says}` }));
    }
    const said = element("div", { className: "now" });
    said.setAttribute("aria-live", "polite");
    if (note) said.append(element("p", { className: "bad", textContent: note }));
    if (at || story) said.append(element("p", { textContent: `${at}. ${now.text}` }));
    said.append(...where(now));
    made.append(said);
    made.append(...(story ? pages(at) : options(now)));
    made.append(disk(now, before), steps(at), share());
    return made;
  };
  const where = (now) => {
    const nodes = story ? Object.entries(now.at).filter(([, node]) => node) : [["", now.stack.at(-1)]];
    if (!story && now.stack.length > 1) nodes.unshift(...now.stack.slice(0, -1).map((node) => ["inside", node]));
    const lines = nodes.filter(([, node]) => node).map(([who, node]) => {
      const { spec } = walking.parts(node);
      const line = element("p", {}, element("a", { href: `#${node}`, className: "mono state-name", textContent: node }));
      if (who) line.prepend(who.length === 1 ? `${who}: ` : `${who} `);
      line.append(` ${spec?.about ?? "is not a state of these machines"}`);
      if (spec && walking.isRest(node)) line.append(element("span", { className: `tag ${spec.tone}`, textContent: `rest, ${spec.tone}` }));
      return line;
    });
    return lines.length ? lines : [element("p", { textContent: "No walk is under way." })];
  };
  const options = (now) => {
    const groups = { outcome: "Outcomes", world: "The world", off: "Declared, but not possible on this disk" };
    const choices = walking.choices(now);
    if (walking.isRest(now.stack.at(-1) ?? "")) groups.outcome = "Events from outside";
    let number = 0;
    return Object.entries(groups).flatMap(([kind, title]) => {
      const ones = choices.filter((one) => one.kind === kind);
      if (!ones.length) return [];
      const list = element("div", { className: `choices ${kind}` });
      list.setAttribute("role", "group");
      list.setAttribute("aria-label", title);
      for (const one of ones) {
        number += 1;
        const note = kind === "world" ? "" : one.text.match(/\((.*)\)$/)?.[1] ?? one.text.match(/^finds (\w+)/)?.[0] ?? "";
        const button = element("button", { type: "button", onclick: () => choose(one) });
        button.dataset.key = one.word;
        if (number < 10) button.append(element("kbd", { textContent: number }), " ");
        button.append(kind === "world" ? one.text : one.name.replace(/_/g, "_\u200b"));
        if (note) button.append(element("small", { textContent: ` ${note}` }));
        list.append(button);
      }
      const hint = kind === "off" ? element("p", { className: "muted", textContent: "Taken all the same, the machine is followed and the disk no longer." }) : "";
      return [element("h4", { textContent: title }), list, hint];
    });
  };
  const pages = (at) => {
    const button = (text, to, key) => {
      const made = element("button", { type: "button", textContent: text, disabled: to < 0 || to >= walk.length, onclick: () => turn(to) });
      made.dataset.key = key;
      return made;
    };
    const leave = element("button", { type: "button", textContent: "leave the story", onclick: () => { location.hash = "walk"; } });
    return [element("div", { className: "choices" }, button("← back", at - 1, "back"), button("next →", at + 1, "next"), leave)];
  };
  const disk = (now, before) => {
    const [values, old] = [walking.diskOf(now), before ? walking.diskOf(before) : null];
    const made = element("table", { className: "disk" });
    made.append(element("caption", { textContent: values ? "The disk, the server and this process" : "The disk is not followed here." }));
    if (!values) return made;
    walking.columns.forEach((title, at) => {
      const head = element("th", { scope: "row", textContent: title });
      const cell = element("td", { textContent: walking.values[values[at]] });
      const row = element("tr", {}, head, cell);
      if (old && old[at] !== values[at]) {
        row.className = "changed";
        cell.append(element("small", { textContent: ` (was: ${walking.values[old[at]]})` }));
      }
      made.append(row);
    });
    return made;
  };
  const steps = (at) => {
    const list = element("ol", { className: "steps", start: 0 });
    walk.forEach((moment, number) => {
      const button = element("button", { type: "button", textContent: moment.text, onclick: () => (story ? turn(number) : back(number + 1)) });
      if (number === at) button.setAttribute("aria-current", "step");
      list.append(element("li", {}, button));
    });
    const undo = element("button", { type: "button", textContent: "take the last step back (U)", disabled: walk.length < 2, onclick: () => back(walk.length - 1) });
    undo.dataset.key = "undo";
    const folded = element("details", { open: !!story }, element("summary", { textContent: `${walk.length - 1} steps` }), list);
    return element("div", {}, ...(story ? [] : [undo]), folded);
  };
  const share = () => {
    const line = element("p", { className: "share" }, "Address of this walk: ", element("a", { href: `#${here()}`, className: "here mono", textContent: "#" + here() }));
    return story?.id === "given" ? element("p", { className: "muted", textContent: "What you gave has no address: it stays in this window." }) : line;
  };
  const picture = (moments) => {
    const node = moments.findLast((one) => one.stack.length)?.stack.at(-1);
    const section = node && document.getElementById(walking.parts(node).machine);
    const original = section?.querySelector("figure svg");
    const frame = element("div", { className: "scroll", tabIndex: 0 });
    frame.setAttribute("role", "group");
    if (!original) return frame;
    const { machine, state } = walking.parts(node);
    frame.setAttribute("aria-label", `picture of ${machine}`);
    const copy = original.cloneNode(true);
    for (const named of [copy, ...copy.querySelectorAll("[id]")]) named.removeAttribute("id");
    copy.style.cssText = "";
    const mark = (edges, name) => {
      for (const edge of edges.filter((one) => one.startsWith(`${machine}.`))) {
        const key = edge.slice(machine.length + 1);
        for (const arrow of copy.querySelectorAll("g[data-edges]")) {
          if (arrow.dataset.edges.split(" ").includes(key)) arrow.classList.add(name);
        }
      }
    };
    for (const moment of moments) mark(moment.edges, "been");
    mark(moments.at(-1).edges, "lit");
    for (const arrow of copy.querySelectorAll(".lit, .addressed")) arrow.classList.remove("addressed");
    if (moments.at(-1).stack.at(-1) === node) copy.querySelector(`[data-state="${CSS.escape(state)}"]`)?.classList.add("lit");
    copy.addEventListener("click", (click) => {
      const arrow = click.target.closest?.("g[data-edges]");
      const keys = arrow?.dataset.edges.split(" ") ?? [];
      const choice = !story && walking.choices(moments.at(-1)).find((one) => keys.includes(`${state}.${one.name}`));
      if (choice) choose(choice);
    });
    frame.append(copy);
    const figure = element("figure", {}, frame);
    zoomable(frame);
    requestAnimationFrame(() => center(frame, copy.querySelector(".state.lit")));
    return figure;
  };
  let given = null;
  const more = () => {
    const starts = element("div", { className: "choices" });
    for (const name of [...(pageData.world ? ["world"] : []), ...Object.keys(pageData.machines)]) {
      const text = name === "world" ? "the world of one process, with its disk" : name;
      starts.append(element("a", { href: `#walk/${name}`, className: name === "world" ? "" : "mono", textContent: text }));
    }
    const list = element("ul");
    for (const one of walking.stories) {
      const text = `${one.title}${one.rule ? `: ${one.rule} breaks in ${one.frames.length - 1} steps` : ""}`;
      list.append(element("li", {}, element("a", { href: `#story/${one.id}`, textContent: text })));
    }
    const text = element("textarea", { rows: 5, cols: 60, spellcheck: false });
    text.setAttribute("aria-label", "a recorded walk, or a counterexample");
    const file = element("input", { type: "file", onchange: async () => { text.value = await file.files[0].text(); } });
    file.setAttribute("aria-label", "a file with it");
    const said = element("span", { className: "bad" });
    said.setAttribute("role", "status");
    const play = () => {
      given = walking.parse(text.value);
      if (!given) said.textContent = " It holds no step.";
      else read(given, 0);
    };
    const button = element("button", { type: "button", textContent: "play it", onclick: play });
    return element("div", { className: "more" },
      element("h3", { textContent: "Begin elsewhere" }), starts,
      ...(list.children.length ? [element("details", {}, element("summary", { textContent: `${list.children.length} stories` }), list)] : []),
      element("details", {}, element("summary", { textContent: "Play a recorded walk, or a counterexample" }),
        element("p", { className: "muted", textContent: "Paste the lines of a --trace file or of diagram --verify, or choose the file. Nothing leaves this page." }),
        text, element("p", {}, file, " ", button, said)),
    );
  };

  document.addEventListener("keydown", (key) => {
    const isTyped = /^(INPUT|TEXTAREA|SELECT)$/.test(key.target.tagName) || key.ctrlKey || key.metaKey || key.altKey;
    if (isTyped || !document.getElementById("walk").hasAttribute("data-shown") || key.target.closest?.("nav")) return;
    if (/^[1-9]$/.test(key.key) && !story) box.querySelectorAll(".choices button[data-key]")[key.key - 1]?.click();
    else if (key.key === "u" && !story) back(walk.length - 1);
    else if (key.key === "ArrowRight" && story) turn(page + 1);
    else if (key.key === "ArrowLeft" && story) turn(page - 1);
    else return;
    key.preventDefault();
  });
  return { open };
})();

addEventListener("hashchange", show);
addEventListener("popstate", show);
show();
