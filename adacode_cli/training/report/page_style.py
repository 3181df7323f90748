"""How the page of a report looks: one column on a phone, several on a screen, dark where the reader asks for it."""

STYLE = """
:root { color-scheme: light dark; --edge: #8884; --soft: #8881; --warn: #e69f0033; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 90rem; padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--edge); }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; overflow-wrap: anywhere; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; }
a { color: inherit; }
.curves, .tables { display: grid; align-items: start; }
.curves { grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: .75rem; }
.tables { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: .25rem 2rem; }
.curves img { width: 100%; height: auto; display: block; background: #fff; }
.curves img { border: 1px solid var(--edge); border-radius: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .5rem 0 .25rem; overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .2rem .75rem .2rem 0; overflow-wrap: break-word; }
th, td { border-bottom: 1px solid var(--edge); }
thead th { font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 400; }
.stages th, .stages td { overflow-wrap: normal; }
.stages tbody th { font-weight: 600; min-width: 8rem; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.warning, .note { padding: .4rem .75rem; border-radius: .4rem; margin: .4rem 0; overflow-wrap: anywhere; }
.note { background: var(--soft); }
.warning { background: var(--warn); }
figure { margin: .5rem 0; }
figcaption { font-size: .9rem; overflow-wrap: anywhere; }
.sheet img { max-width: 100%; height: auto; display: block; }
.earlier { display: flex; flex-wrap: wrap; gap: .75rem; align-items: flex-start; }
.earlier figure { flex: 0 1 15rem; min-width: 8rem; }
.earlier img { width: 100%; height: auto; display: block; }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .curves { grid-template-columns: 1fr 1fr; }
  .curves img, figure, tr, .warning { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .sheet img { max-height: 22cm; }
  .earlier figure { flex: 0 1 30%; }
  .scroll { overflow: visible; }
  .stages { font-size: 7pt; }
  .stages th, .stages td { white-space: normal; padding-right: .3rem; }
  .stages tbody th { min-width: 2cm; }
  nav { display: none; }
}
"""
