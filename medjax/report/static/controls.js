// The tools above the pictures of a case, and the gestures on them.
const PRESETS = { HU: { "soft tissue": [-160, 240], brain: [0, 80], liver: [-45, 105], lung: [-1350, 150], bone: [-450, 1350] } };

class Controls {
  constructor(viewer) {
    this.viewer = viewer;
    const tools = viewer.section.querySelector(".tools");
    tools.append(document.getElementById("tools").content.cloneNode(true));
    const find = name => tools.querySelector(`[data-tool='${name}']`);
    const { names, planes, codes, window: [low, high], unit, uncertain } = viewer.about;
    Object.assign(this, { find, marks: false });

    const top = codes.low + codes.step * (codes.count - 2), width = high - low;
    range(find("level"), Math.max(codes.low, low - 4 * width), Math.min(top, high + 4 * width), codes.step);
    range(find("width"), 2 * codes.step, Math.max(8 * width, 2 * width), codes.step);
    range(find("scale"), viewer.scale / 20, 4 * viewer.scale, viewer.scale / 20);
    on(find("level"), "input", e => this.move(Number(e.value), viewer.high - viewer.low));
    on(find("width"), "input", e => this.move((viewer.low + viewer.high) / 2, Number(e.value)));
    on(find("scale"), "input", e => { viewer.scale = Number(e.value); this.update(); viewer.paint(); });

    const presets = { "as stated": [low, high], ...PRESETS[unit] };
    for (const name of Object.keys(presets)) find("preset").append(new Option(name, name));
    this.presets = presets;
    on(find("preset"), "change", e => e.value && viewer.setWindow(...presets[e.value]));

    find("planes").hidden = planes.length < 2;
    planes.forEach((plane, i) => find("planes").append(button(plane.name, () => viewer.choosePlane(i))));
    on(find("slice"), "input", e => viewer.setSlice(Number(e.value)));

    names.forEach((name, i) => find("methods").append(button(name, () => viewer.setAlone(i))));
    on(find("grid"), "click", () => this.flicker(false));
    on(find("flicker"), "click", () => this.flicker(true));
    on(find("differences"), "change", e => { viewer.section.classList.toggle("plain", !e.checked); viewer.draw(); });
    find("unsure").closest("label").hidden = !uncertain.some(Boolean);
    on(find("unsure"), "change", e => { this.marks = e.checked; viewer.paint(); });
    on(find("in"), "click", () => viewer.setView(view.zoomAt(viewer.view, 1.5, 0.5, 0.5)));
    on(find("out"), "click", () => viewer.setView(view.zoomAt(viewer.view, 1 / 1.5, 0.5, 0.5)));
    on(find("reset"), "click", () => { viewer.resetShown(); viewer.setView(view.whole()); viewer.paint(); });
  }

  move(level, width) { this.viewer.setWindow(level - width / 2, level + width / 2); }

  flicker(alone) {
    this.viewer.section.classList.toggle("alone", alone);
    this.viewer.setAlone(this.viewer.alone);
  }

  place(text) { this.find("place").textContent = text; }

  update() {
    const { viewer, find } = this, { unit } = viewer.about, { low, high } = viewer;
    const round = x => Number(x.toPrecision(4)).toString().replace("-", "−");
    find("level").value = (low + high) / 2;
    find("width").value = high - low;
    find("scale").value = viewer.scale;
    find("level-text").textContent = `${round((low + high) / 2)} ${unit}`;
    find("width-text").textContent = `${round(high - low)} ${unit}`;
    find("scale-text").textContent = `±${round(viewer.scale)} ${unit}`;
    const close = (a, b) => Math.abs(a - b) < viewer.about.codes.step / 2;
    const named = Object.keys(this.presets).find(k => close(this.presets[k][0], low) && close(this.presets[k][1], high));
    find("preset").value = named ?? "";
    const { slices, count, name } = viewer.shape;
    find("slices").hidden = slices.length < 2;
    range(find("slice"), 0, slices.length - 1, 1);
    find("slice").value = viewer.slice;
    find("slice-text").textContent = `${name === "frame" ? "frame" : "slice"} ${slices[viewer.slice]} of ${count}`;
    find("zoom-text").textContent = `${Math.round(100 * viewer.view.zoom)} %`;
    press(find("planes"), viewer.plane);
    press(find("methods"), viewer.alone);
    const alone = viewer.section.classList.contains("alone");
    find("methods").hidden = !alone;
    find("grid").setAttribute("aria-pressed", !alone);
    find("flicker").setAttribute("aria-pressed", alone);
  }
}

function on(element, event, act) { element.addEventListener(event, () => act(element)); }
function range(element, min, max, step) { Object.assign(element, { min, max, step }); }
function press(group, chosen) {
  group.querySelectorAll("button").forEach((b, i) => b.setAttribute("aria-pressed", i === chosen));
}
function button(text, act) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  made.addEventListener("click", act);
  return made;
}

function addGestures(viewer) {
  const fingers = new Map();
  for (const { element } of viewer.panes) {
    const within = e => {
      const box = element.getBoundingClientRect();
      return [(e.clientX - box.left) / box.width, (e.clientY - box.top) / box.height];
    };
    // Without focus the wheel scrolls the page: nobody gets stuck in a picture on the way down.
    element.addEventListener("wheel", e => {
      if (!e.ctrlKey && !viewer.section.contains(document.activeElement)) return;
      e.preventDefault();
      viewer.setView(view.zoomAt(viewer.view, Math.exp(-0.0015 * e.deltaY * (e.deltaMode ? 30 : 1)), ...within(e)));
    }, { passive: false });
    element.addEventListener("pointerdown", e => {
      element.focus({ preventScroll: true });
      element.setPointerCapture(e.pointerId);
      fingers.set(e.pointerId, within(e));
    });
    element.addEventListener("pointermove", e => {
      const [x, y] = within(e), last = fingers.get(e.pointerId);
      viewer.cursor = [x, y];
      if (!last) return viewer.draw();
      const others = [...fingers].filter(([id]) => id !== e.pointerId).map(([, p]) => p);
      fingers.set(e.pointerId, [x, y]);
      if (others.length) return viewer.setView(pinch(viewer.view, last, [x, y], others[0]));
      if (e.shiftKey || e.buttons === 2) return turnWindow(viewer, x - last[0], y - last[1]);
      viewer.setView(view.pan(viewer.view, x - last[0], y - last[1]));
    });
    for (const end of ["pointerup", "pointercancel"])
      element.addEventListener(end, e => fingers.delete(e.pointerId));
    element.addEventListener("pointerleave", () => { viewer.cursor = null; viewer.draw(); });
    element.addEventListener("contextmenu", e => e.preventDefault());
    element.addEventListener("dblclick", e => viewer.setView(
      viewer.view.zoom > 1 ? view.whole() : view.zoomAt(viewer.view, 4, ...within(e))));
    element.addEventListener("keydown", e => { if (pressKey(viewer, e)) e.preventDefault(); });
  }
}

function pinch(now, from, to, other) {
  const apart = p => Math.hypot(p[0] - other[0], p[1] - other[1]);
  const moved = view.pan(now, (to[0] - from[0]) / 2, (to[1] - from[1]) / 2);
  return view.zoomAt(moved, apart(to) / Math.max(apart(from), 0.01), (to[0] + other[0]) / 2, (to[1] + other[1]) / 2);
}

// As on a workstation: sideways the width, up and down the level.
function turnWindow(viewer, dx, dy) {
  const [low, high] = viewer.about.window, span = high - low;
  const width = viewer.high - viewer.low + 2 * span * dx, level = (viewer.low + viewer.high) / 2 + 2 * span * dy;
  viewer.controls.move(level, Math.max(width, 2 * viewer.about.codes.step));
}

function pressKey(viewer, e) {
  if (e.ctrlKey || e.metaKey || e.altKey) return false;
  const step = 0.1, { view: now } = viewer;
  const acts = {
    "+": () => viewer.setView(view.zoomAt(now, 1.5, 0.5, 0.5)),
    "=": () => viewer.setView(view.zoomAt(now, 1.5, 0.5, 0.5)),
    "-": () => viewer.setView(view.zoomAt(now, 1 / 1.5, 0.5, 0.5)),
    "0": () => viewer.setView(view.whole()),
    ArrowLeft: () => viewer.setView(view.pan(now, step, 0)),
    ArrowRight: () => viewer.setView(view.pan(now, -step, 0)),
    ArrowUp: () => viewer.setView(view.pan(now, 0, step)),
    ArrowDown: () => viewer.setView(view.pan(now, 0, -step)),
    "[": () => viewer.setSlice(viewer.slice - 1),
    "]": () => viewer.setSlice(viewer.slice + 1),
    PageUp: () => viewer.setSlice(viewer.slice - 1),
    PageDown: () => viewer.setSlice(viewer.slice + 1),
    f: () => viewer.controls.flicker(!viewer.section.classList.contains("alone")),
    " ": () => viewer.setAlone(viewer.before),
  };
  const alone = viewer.section.classList.contains("alone");
  if (alone && /^[1-9]$/.test(e.key)) viewer.setAlone(Number(e.key) - 1);
  else if (e.key in acts && (alone || e.key !== " ")) acts[e.key]();
  else return false;
  return true;
}

// Pictures are unpacked when they come near the screen.
document.documentElement.classList.add("scripted");
const near = new IntersectionObserver(entries => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    new CaseViewer(target, target.id.split("-")[1]).start();
  }
}, { rootMargin: "600px" });
document.querySelectorAll(".case").forEach(section => near.observe(section));
