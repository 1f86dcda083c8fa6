// Something over time: a chart to look at, and the same as a table to read.
import { html, useEffect, useRef, useState } from "./lib.js";
import uPlot from "../vendor/uplot/uPlot.esm.js";
import { number, time } from "./format.js";

const HEIGHT = 150;

/** The colours of now, as the style sheet has them. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/**
 * @param {{title: string, moments: string[], series: {label: string, tone: string, values: number[]}[], width: number}} props
 *   `width` is that of a portion in seconds.
 */
export function Chart({ title, moments, series, width, unit }) {
  const [asTable, setAsTable] = useState(false);
  const total = series.map((one) => [one, one.values.reduce((sum, value) => sum + value, 0)]);
  return html`<section class="card chart" aria-label=${title}>
    <div class="head">
      <h2>${title}</h2>
      <button type="button" class="small" aria-pressed=${asTable ? "true" : "false"}
        onClick=${() => setAsTable(!asTable)}>${asTable ? "As chart" : "As table"}</button>
    </div>
    <ul class="legend">${total.map(([one, sum]) => html`<li key=${one.label}>
      <i class=${`dot ${one.tone}`}></i>${one.label} <b>${number(sum)}</b></li>`)}</ul>
    ${asTable
      ? html`<${Twin} title=${title} moments=${moments} series=${series} unit=${unit} />`
      : html`<${Plot} title=${title} moments=${moments} series=${series} width=${width} />`}
  </section>`;
}

function Twin({ title, moments, series, unit }) {
  const rows = moments.map((moment, place) => [moment, place]).filter(([, place]) => series.some((one) => one.values[place]));
  return html`<div class="twin" tabindex="0" role="region" aria-label=${`${title}, as a table`}><table>
    <caption class="offscreen">${title}; portions in which nothing came are left out</caption>
    <thead><tr><th scope="col">From</th>${series.map((one) => html`<th scope="col" class="number">${one.label}</th>`)}</tr></thead>
    <tbody>${rows.map(([moment, place]) => html`<tr key=${moment}><th scope="row">${time(moment)}</th>
      ${series.map((one) => html`<td class="number">${number(one.values[place])}</td>`)}</tr>`)}
      ${rows.length === 0 && html`<tr><td colspan=${series.length + 1} class="muted">Nothing ${unit} in this time.</td></tr>`}
    </tbody></table></div>`;
}

function Plot({ title, moments, series, width }) {
  const place = useRef(null);
  const plot = useRef(null);
  const data = [moments.map((moment) => Date.parse(moment) / 1000), ...series.map((one) => one.values)];
  const described = series.map((one) => `${one.label}: ${number(one.values.reduce((sum, value) => sum + value, 0))}`);
  const shape = series.map((one) => one.label).join();
  const known = useRef(data);
  known.current = data;

  useEffect(() => {
    const build = () => {
      plot.current?.destroy();
      plot.current = new uPlot(options(place.current.clientWidth, series, width), known.current, place.current);
    };
    build();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: place.current.clientWidth, height: HEIGHT }));
    resized.observe(place.current);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", build);
    addEventListener("morag-theme", build);
    return () => {
      resized.disconnect();
      system.removeEventListener("change", build);
      removeEventListener("morag-theme", build);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape, width]);

  useEffect(() => plot.current?.setData(data), [JSON.stringify(data)]);

  return html`<div class="plot" ref=${place} role="img" aria-label=${`${title}. ${described.join(", ")}`}></div>`;
}

function options(plotWidth, series, width) {
  const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
  return {
    width: plotWidth,
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
    scales: { x: { time: true, range: (_, first, last) => [first, last + width] }, y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
    axes: [
      { ...axis, grid: { show: false }, values: clock, space: 60, size: 26 },
      { ...axis, size: 40, splits: (_, __, ___, most) => wholeSplits(most), values: (_, all) => all.map(short) },
    ],
    series: [
      {},
      ...series.map((one) => ({
        label: one.label,
        stroke: colour(one.tone),
        fill: one.area ? `${colour(one.tone)}33` : undefined,
        width: 1.75,
        points: { show: false },
        paths: one.area ? uPlot.paths.bars({ size: [0.8, 24], align: 1 }) : uPlot.paths.stepped({ align: 1 }),
      })),
    ],
    plugins: [pointedAt(series, width)],
  };
}

// What one points at, in words.
function pointedAt(series, width) {
  let box;
  return {
    hooks: {
      init: (plot) => {
        box = document.createElement("div");
        box.className = "pointed";
        box.hidden = true;
        plot.over.append(box);
        plot.over.addEventListener("mouseleave", () => (box.hidden = true));
      },
      setCursor: (plot) => {
        const place = plot.cursor.idx;
        box.hidden = place === null || place === undefined || plot.cursor.left < 0;
        if (box.hidden) return;
        const from = new Date(plot.data[0][place] * 1000).toISOString();
        const values = series.map((one, number) => `${one.label} ${plot.data[number + 1][place]}`);
        box.textContent = `${time(from)} · ${values.join(" · ")}`;
        const half = plot.over.clientWidth / 2;
        box.style.left = plot.cursor.left > half ? "auto" : `${plot.cursor.left + 12}px`;
        box.style.right = plot.cursor.left > half ? `${plot.over.clientWidth - plot.cursor.left + 12}px` : "auto";
      },
    },
  };
}

const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const days = new Intl.DateTimeFormat("en-GB", { day: "2-digit", month: "short" });
const clock = (plot, moments) => {
  const isLong = plot.data[0].at(-1) - plot.data[0][0] > 172800;
  return moments.map((moment) => (isLong ? days : hours).format(new Date(moment * 1000)));
};

function wholeSplits(most) {
  const rough = most / 4;
  const power = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough) ?? 10 * power;
  return Array.from({ length: Math.floor(most / step) + 1 }, (_, place) => place * step);
}

const short = (value) => (value >= 1e6 ? `${value / 1e6}M` : value >= 1000 ? `${value / 1000}k` : String(value));
