// Draws the figures in the colours of the screen, lazily, and shows where a number comes from.
(() => {
  "use strict";

  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  const canHover = window.matchMedia("(hover: hover) and (pointer: fine)").matches;

  const colour = (text) => {
    const match = /^@(\w+)(?:\/([\d.]+))?$/.exec(text);
    if (!match) return text;
    const hex = css(/^\d$/.test(match[1]) ? `--c${match[1]}` : `--${match[1]}`);
    if (match[2] === undefined) return hex;
    const part = (i) => parseInt(hex.slice(1 + 2 * i, 3 + 2 * i), 16);
    return `rgba(${part(0)},${part(1)},${part(2)},${match[2]})`;
  };

  // A deep copy with colour names resolved: Plotly writes into what it is given.
  const resolved = (value) => {
    if (Array.isArray(value)) return value.map(resolved);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolved(v)]));
    }
    return typeof value === "string" && value[0] === "@" ? colour(value) : value;
  };

  const axis = (own) => ({
    gridcolor: css("--line"),
    zerolinecolor: css("--muted"),
    zerolinewidth: 1,
    linecolor: css("--line"),
    tickfont: { color: css("--soft"), size: 11 },
    automargin: true,
    exponentformat: "power",
    ...own,
    title: {
      ...(typeof own?.title === "string" ? { text: own.title } : own?.title),
      font: { color: css("--soft"), size: 12 },
      standoff: 8,
    },
  });

  const layout = (own, traces) => {
    const axes = Object.keys(own).filter((k) => /^[xy]axis\d*$/.test(k));
    return {
      ...own,
      template: {},
      ...Object.fromEntries([...new Set(["xaxis", "yaxis", ...axes])].map((k) => [k, axis(own[k])])),
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: css("--sans"), color: css("--ink"), size: 12 },
      colorway: [0, 1, 2, 3, 4, 5, 6, 7].map((i) => css(`--c${i}`)),
      margin: { l: 8, r: 14, t: 8, b: 8 },
      showlegend: own.showlegend ?? traces.filter((t) => t.showlegend !== false).length > 1,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } },
      hoverlabel: {
        bgcolor: css("--raised"),
        bordercolor: css("--line"),
        font: { family: css("--sans"), color: css("--ink"), size: 12 },
      },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--muted"), activecolor: css("--accent") },
      dragmode: canHover ? "zoom" : false,
    };
  };

  const config = {
    displayModeBar: canHover ? "hover" : false,
    displaylogo: false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  const drawn = new Set();
  const draw = (node) => {
    const figure = resolved(JSON.parse(document.getElementById(`${node.id}-data`).textContent));
    Plotly.react(node, figure.data, layout(figure.layout, figure.data), config);
    drawn.add(node);
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting && !drawn.has(entry.target)) draw(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  const plots = [...document.querySelectorAll(".plot")];
  const sized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (drawn.has(target) && target.offsetParent) Plotly.Plots.resize(target);
    }
  });
  plots.forEach((node) => {
    seen.observe(node);
    sized.observe(node);
  });
  window.addEventListener("beforeprint", () => {
    plots.filter((node) => node.offsetParent && !drawn.has(node)).forEach(draw);
  });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", () => [...drawn].forEach(draw));

  // Where a number comes from, on hover, focus or tap.
  const hows = JSON.parse(document.getElementById("numbers").textContent);
  const tip = document.getElementById("tip");
  const line = (text, kind) => {
    const node = document.createElement("div");
    node.className = kind;
    node.textContent = text;
    return node;
  };
  const show = (node) => {
    const [how, source] = hows[node.dataset.id] ?? ["", ""];
    tip.replaceChildren(
      line(node.dataset.value || "no value", "value"),
      line(how, "how"),
      line(source, "from"),
    );
    tip.hidden = false;
    const at = node.getBoundingClientRect();
    const width = tip.offsetWidth;
    const left = Math.min(Math.max(8, at.left + at.width / 2 - width / 2), innerWidth - width - 8);
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  };
  const number = (event) => event.target.closest?.("[data-id]");
  document.addEventListener("pointerover", (event) => {
    const node = number(event);
    if (node) show(node);
    else tip.hidden = true;
  });
  document.addEventListener("scroll", () => (tip.hidden = true), { passive: true, capture: true });

  // The graph: a stage's own edges stand out while the pointer is on it.
  for (const node of document.querySelectorAll(".graph .node")) {
    const name = node.dataset.name;
    const own = [...document.querySelectorAll(".graph .edge")].filter(
      (edge) => edge.dataset.from === name || edge.dataset.to === name,
    );
    node.addEventListener("pointerenter", () => own.forEach((e) => e.classList.add("lit")));
    node.addEventListener("pointerleave", () => own.forEach((e) => e.classList.remove("lit")));
  }

  // The table of contents follows the reader, and is folded on small screens.
  const links = new Map(
    [...document.querySelectorAll("nav li a")].map((a) => [a.getAttribute("href").slice(1), a]),
  );
  const here = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        links.get(entry.target.id)?.classList.toggle("here", entry.isIntersecting);
      }
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  document.querySelectorAll("section.part").forEach((part) => here.observe(part));
  if (innerWidth < 1100) document.querySelector("nav details").open = false;
})();
