package timeline

// Style is the style sheet of the drawings. Its rules apply only within the class timeline.
const Style = `.timeline text { font: 16px ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", Verdana, sans-serif; fill: #1f2328 }
.timeline .lane, .timeline .time, .timeline .length { fill: #59636e }
.timeline path { fill: none }
.timeline .paper { fill: #ffffff }
.timeline .window { fill: #fff1cf }
.timeline .edge { stroke: #bf8700; stroke-width: 1.5; stroke-dasharray: 2 3 }
.timeline .axis, .timeline .measure { stroke: #818b98; stroke-width: 1 }
.timeline .call { stroke: #0969da; stroke-width: 3 }
.timeline .wait { stroke: #0969da; stroke-width: 1.5 }
.timeline .pending { stroke-dasharray: 5 4 }
.timeline .due { fill: none; stroke: #0969da; stroke-width: 1.5 }
.timeline .dropped, .timeline .cross { stroke: #cf222e; stroke-width: 2 }
.timeline .mark, .timeline .name { color: #8250df }
.timeline .mark { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 6 4 }
.timeline .name { fill: currentColor; font-weight: 600 }
.timeline .bar { fill: #1a7f64; stroke: #ffffff }
.timeline .failed .bar { fill: #cf222e }
.timeline .hatch { stroke: #ffffff; stroke-width: 1.5 }
.timeline .open { stroke: #1f2328; stroke-width: 2; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
.timeline text { fill: #e6edf3 }
.timeline .lane, .timeline .time, .timeline .length { fill: #9198a1 }
.timeline .paper { fill: #0d1117 }
.timeline .window { fill: #2e2611 }
.timeline .edge { stroke: #9e6a03 }
.timeline .axis, .timeline .measure { stroke: #656c76 }
.timeline .call, .timeline .wait, .timeline .due { stroke: #58a6ff }
.timeline .dropped, .timeline .cross { stroke: #ff7b72 }
.timeline .mark, .timeline .name { color: #bc8cff }
.timeline .bar { fill: #3fb68b; stroke: #0d1117 }
.timeline .failed .bar { fill: #ff7b72 }
.timeline .hatch { stroke: #0d1117 }
.timeline .open { stroke: #e6edf3 }
}
`
