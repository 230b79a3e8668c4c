// SPDX-License-Identifier: Apache-2.0
// Owns: how the page looks: light, dark, printed, narrow.
// Invariant: text has a contrast of 7 to 1 or more in both schemes; what has the keyboard's focus has a visible frame; no colour alone says
// anything. Limits: no font, picture or file from elsewhere.
export const STYLE = `
:root{color-scheme:light dark;--paper:#fff;--ink:#16181d;--soft:#45484f;--line:#8a8f98;--zebra:#f2f4f7;--link:#0a3f9c;
--warn:#fff1c2;--warnink:#3a2a00}
@media (prefers-color-scheme:dark){:root{--paper:#14161a;--ink:#eceef1;--soft:#c0c4cc;--line:#777d88;--zebra:#1d2026;--link:#a8c7fa;
--warn:#443400;--warnink:#ffefbd}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
header,main,footer,nav{max-width:90rem;margin:0 auto;padding:0 1rem}
h1{margin:.6em 0 .2em;font-size:1.6rem}
h2{margin:1.6em 0 .4em;font-size:1.3rem;border-bottom:1px solid var(--line)}
h3{margin:1.2em 0 .3em;font-size:1.05rem}
a{color:var(--link)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible,main:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.skip{position:absolute;left:-200vw}
.skip:focus{left:1rem;top:.5rem;padding:.5rem 1rem;background:var(--paper);z-index:1}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:.4rem 0;padding:0;list-style:none}
[aria-current]{font-weight:700;text-decoration:none}
.note{margin:.8rem 0;padding:.6rem .9rem;border:3px double currentColor;background:var(--warn);color:var(--warnink)}
.note strong{font-size:1.15em;letter-spacing:.04em}
.soft{color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;margin:.4rem 0;font-variant-numeric:tabular-nums}
caption{width:max-content;max-width:min(60rem,85vw);text-align:left;padding:.3rem 0;color:var(--soft)}
th,td{padding:.25rem .7rem;text-align:left;vertical-align:top;white-space:nowrap;border-bottom:1px solid var(--line)}
thead th{vertical-align:bottom;white-space:normal}
tbody tr:nth-child(even){background:var(--zebra)}
td.n,th.n{text-align:right}
.id{font-family:ui-monospace,monospace;font-size:.9em}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem;margin:.4rem 0}
dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}
.spark{display:block;fill:none;stroke:currentColor;stroke-width:1.5}
.spark circle{fill:currentColor}
footer{margin:2rem auto;border-top:1px solid var(--line);padding-top:.6rem}
@media (max-width:40rem){dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
@media print{nav,.skip{display:none}body{font-size:10pt}th,td{white-space:normal}
.scroll{overflow:visible}h2{break-after:avoid}tr{break-inside:avoid}a{color:inherit}}
`;
