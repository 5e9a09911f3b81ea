// Mouse, touch and keys on the pictures of a case; and where everything starts.
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
    Escape: () => document.activeElement.blur(),
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
const able = typeof DecompressionStream !== "undefined";
const near = new IntersectionObserver(entries => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    new CaseViewer(target, target.id.split("-")[1]).start();
  }
}, { rootMargin: "600px" });
if (able) {
  document.documentElement.classList.add("scripted");
  document.querySelectorAll(".case").forEach(section => near.observe(section));
}
