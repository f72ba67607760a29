"""The page's style sheet: light and dark, 390 pixels and up, printable. Contrast is at least 4.5 to 1 everywhere."""

CSS = """
:root { color-scheme: light dark;
  --paper: #ffffff; --card: #f6f8fa; --ink: #1f2328; --quiet: #57606a; --line: #d5dae0; --link: #0550ae;
  --good: #00573c; --good-paper: #dcf3e8; --bad: #8a2f00; --bad-paper: #fde6d8;
  --open: #5c4500; --open-paper: #fff2cc; --none: #424a53; --none-paper: #e9ecf0; --shade: #e3e7ec; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #0e1116; --card: #171b22; --ink: #e6e9ee; --quiet: #a0a9b4; --line: #323944; --link: #79b8ff;
  --good: #7fe3b9; --good-paper: #10382a; --bad: #ffb48c; --bad-paper: #46210f;
  --open: #f2d477; --open-paper: #3a2f0e; --none: #bcc5cf; --none-paper: #2a303a; --shade: #2c333d; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
  overflow-wrap: break-word; }
header, main, footer { max-width: 1120px; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.25rem; }
footer { padding-top: 1rem; padding-bottom: 3rem; color: var(--quiet); font-size: .875rem; }
h1 { font-size: clamp(1.6rem, 1.2rem + 1.8vw, 2.25rem); line-height: 1.2; margin: .1rem 0 .6rem; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 0 0 .4rem; }
h3 { font-size: 1.05rem; margin: 2.2rem 0 .7rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--link); text-underline-offset: .15em; }
code, .mono { font: .875em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; background: var(--paper); padding: .5rem 1rem; z-index: 1; }
.eyebrow { color: var(--quiet); font-size: .875rem; margin: 0; }
.quiet { color: var(--quiet); }
.small { font-size: .875rem; }
.count { display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; padding: 0; margin: 1rem 0; }
.badge { display: inline-block; white-space: nowrap; font-size: .8125rem; font-weight: 600; line-height: 1.3;
  padding: .16rem .6rem .18rem .5rem; border-radius: .85rem; border: 1px solid currentColor; }
.badge .mark { font-weight: 700; }
.supported { color: var(--good); } .badge.supported { background: var(--good-paper); }
.contradicted { color: var(--bad); } .badge.contradicted { background: var(--bad-paper); }
.inconclusive { color: var(--open); } .badge.inconclusive { background: var(--open-paper); }
.untested { color: var(--none); } .badge.untested { background: var(--none-paper); }
.label { display: inline-block; font-size: .75rem; font-weight: 600; color: var(--quiet); border: 1px solid var(--line);
  border-radius: 4px; padding: 0 .4rem; margin-right: .4rem; vertical-align: .08em; background: var(--paper); }
.banner { border-left: 4px solid var(--open); background: var(--open-paper); color: var(--ink); padding: .6rem .9rem;
  border-radius: 0 6px 6px 0; margin: .9rem 0; max-width: none; }
.banner.broken { border-color: var(--bad); background: var(--bad-paper); }
.banner ul { margin: .3rem 0; padding-left: 1.2rem; }
section.experiment { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 2rem; }
.question { font-size: 1.05rem; }
table { border-collapse: collapse; width: 100%; font-size: .9375rem; line-height: 1.45; }
caption { text-align: left; padding: 0 0 .5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem; border-top: 1px solid var(--line); }
thead th { font-size: .8125rem; color: var(--quiet); font-weight: 600; border-top: 0; }
tbody th { font-weight: 600; }
#claims { margin-top: 2rem; }
.summary { margin-top: 1rem; }
.summary td + td { white-space: nowrap; }
.summary td.published { white-space: normal; min-width: 8rem; max-width: 13rem; }
.summary .one { display: block; }
.summary .one + .one { margin-top: .7rem; }
.summary .value { display: block; margin-top: .2rem; }
.value { font-variant-numeric: tabular-nums; white-space: nowrap; }
.big { font-size: 1.125rem; font-weight: 600; }
.bar { display: block; margin-top: .35rem; overflow: visible; max-width: 100%; height: auto; }
.bar .delta { fill: var(--shade); } .bar .base { stroke: var(--line); } .bar .zero { stroke: var(--quiet); }
.bar .span { stroke: currentColor; stroke-width: 2.5; } .bar .dot { fill: currentColor; }
.compare { background: var(--card); border: 1px solid var(--line); border-radius: 8px; border-collapse: separate;
  border-spacing: 0; table-layout: fixed; margin: 0 0 1.25rem; }
.compare caption { font-weight: 600; font-size: 1rem; padding: .25rem 0 .55rem; }
.compare tbody th, .compare .corner { width: 11.5rem; color: var(--quiet); font-size: .875rem; }
.compare thead th, .compare thead td { border-top: 0; }
.compare ul { margin: 0; padding-left: 1.1rem; }
details summary { cursor: pointer; color: var(--link); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .9rem; margin: .3rem 0; font-size: .875rem; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.25rem;
  align-items: start; margin-bottom: 1.25rem; }
figure { margin: 0; max-width: 40rem; }
figure img { display: block; width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 8px; }
figcaption { color: var(--quiet); font-size: .875rem; margin-top: .45rem; }
@media screen and (max-width: 760px) {
  header, main, footer { padding-left: 1rem; padding-right: 1rem; }
  section.experiment { margin-top: 2.25rem; padding-top: 1.5rem; }
  .summary thead { position: absolute; left: -999rem; }
  .summary, .summary tbody, .summary tr, .summary th, .summary td, .summary caption { display: block; }
  .summary tr { border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: .7rem .9rem;
    margin-bottom: .8rem; }
  .summary th, .summary td, .summary td.published { border: 0; padding: .15rem 0; max-width: none; }
  .summary td + td { white-space: normal; }
  .summary td:not(:first-child)::before { content: attr(data-label); display: block; color: var(--quiet);
    font-size: .8125rem; margin-top: .35rem; }
  .compare, .compare caption, .compare tbody, .compare thead, .compare th, .compare td { display: block; }
  .compare caption { padding: .7rem .8rem .2rem; }
  .compare .badge, .compare .value { white-space: normal; }
  .compare tr { display: grid; grid-template-columns: 1fr; border-top: 1px solid var(--line); padding: .5rem .8rem; }
  .compare thead tr { border-top: 0; }
  .compare.two tr { grid-template-columns: 1fr 1fr; column-gap: .9rem; }
  .compare th, .compare td { border: 0; padding: .1rem 0; min-width: 0; }
  .compare tbody th, .compare .same { width: auto; grid-column: 1 / -1; }
  .compare tbody th { font-size: .8125rem; }
  .compare .corner, .compare.many thead { display: none; }
  .compare.many td:not(.same)::before { content: attr(data-label); display: block; color: var(--quiet);
    font-size: .75rem; margin-top: .3rem; }
}
@media print {
  :root { color-scheme: light; }
  body { font-size: 9pt; background: #fff; }
  table { font-size: 8.5pt; }
  th, td { padding: .3rem .5rem; }
  .figures { grid-template-columns: 1fr 1fr; }
  header, main, footer { max-width: none; padding: 0; }
  figure, tr, .banner { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .skip, nav { display: none; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""
