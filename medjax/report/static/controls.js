// The tools above the pictures of a case.
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
    const say = (name, text) => { viewer.section.querySelector(`[data-said=${name}]`).textContent = text; };
    const of = unit && ` ${unit}`;
    say("window", `window ${round(low)} to ${round(high)}${of} (level ${round((low + high) / 2)}, width ${round(high - low)})`);
    say("scale", `scale −${round(viewer.scale)} to +${round(viewer.scale)}${of}`);
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
    say("slice", count < 2 ? "" : name === "frame" ? `Frame ${slices[viewer.slice]} of ${count}.` : `Plane ${name}, slice ${slices[viewer.slice]} of ${count}.`);
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
