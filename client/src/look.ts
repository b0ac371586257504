// The element's style. It takes the page's font and text colour, and all greys from that colour: so it is at home on light
// and on dark pages, also on those that are light whatever the reader prefers. The two colours of its own are seen on both.

export const LOOK = `
:host {
  display: block;
  container-type: inline-size;
  --_accent: var(--batch-progress-accent, #2a9d6f);
  --_failed: var(--batch-progress-failed, #e5484d);
  --_track: var(--batch-progress-track, color-mix(in srgb, currentColor 14%, transparent));
  --_muted: var(--batch-progress-muted, color-mix(in srgb, currentColor 72%, transparent));
  --_height: var(--batch-progress-height, 0.625rem);
  --_radius: var(--batch-progress-radius, 0.3125rem);
  --_gap: var(--batch-progress-gap, 0.5rem);
  line-height: 1.4;
  text-align: start;
}
:host([hidden]) { display: none; }
[hidden] { display: none !important; }

.body { display: grid; gap: var(--_gap); }
.head { display: flex; align-items: baseline; gap: 0.25em 0.75em; flex-wrap: wrap; }
.figure { font-size: 1.5em; font-weight: 650; line-height: 1.1; font-variant-numeric: tabular-nums; }
.figure:empty { display: none; }
.words { font-variant-numeric: tabular-nums; }
.remaining { margin-inline-start: auto; color: var(--_muted); font-variant-numeric: tabular-nums; }

.bar {
  position: relative;
  height: var(--_height);
  overflow: hidden;
  border-radius: var(--_radius);
  background: var(--_track);
}
.fill, .failed {
  position: absolute;
  inset: 0;
  transform-origin: left;
  transform: scaleX(var(--part, 0));
  background: var(--_accent);
  transition: transform 400ms ease-out;
}
/* Failures stand at the end of what is done, in stripes: not by colour alone. */
.failed {
  transform: none;
  clip-path: inset(0 calc(100% - 100% * var(--part, 0)) 0 calc(100% * (var(--part, 0) - var(--failed-part, 0))));
  background: repeating-linear-gradient(-45deg, var(--_failed) 0 0.25rem, color-mix(in srgb, var(--_failed) 65%, black) 0.25rem 0.5rem);
  transition: clip-path 400ms ease-out;
}
:dir(rtl) .fill { transform-origin: right; }
[data-stale] .fill, [data-stale] .failed { opacity: 0.55; }
[data-state="refused"] .fill { background: var(--_muted); }
[data-state="asking"] .bar { animation: ask 1.6s ease-in-out infinite alternate; }
@keyframes ask { to { opacity: 0.45; } }

.note { margin: 0; padding-inline-start: 0.6em; border-inline-start: 0.2em solid var(--_muted); color: var(--_muted); font-size: 0.9em; }

.photos {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(min(7.5rem, 100%), 1fr));
  gap: 0.375rem;
  margin: 0;
  padding: 0;
  list-style: none;
  font-size: 0.85em;
}
.photos:empty { display: none; }
.photo {
  display: grid;
  grid-template-columns: auto minmax(0, 1fr);
  align-items: center;
  gap: 0.45em;
  padding: 0.35em 0.5em;
  border-radius: var(--_radius);
  background: color-mix(in srgb, currentColor 6%, transparent);
  content-visibility: auto;
  contain-intrinsic-size: auto 1.9em;
}
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mark { width: 0.9em; height: 0.9em; border: 0.14em solid var(--_muted); border-radius: 50%; box-sizing: border-box; transition: background-color 300ms; }
[data-status="PROCESSING"] .mark { border-color: var(--_accent); border-inline-end-color: transparent; animation: turn 1.2s linear infinite; }
[data-status="COMPLETED"] .mark { border-color: var(--_accent); background: var(--_accent); }
[data-status="FAILED"] .mark { border-color: var(--_failed); background: var(--_failed); border-radius: 0.15em; }
[data-status="DROPPED"] .mark { border-style: dotted; }
[data-status="QUEUED"] .name, [data-status="DROPPED"] .name { color: var(--_muted); }
@keyframes turn { to { transform: rotate(1turn); } }

.failures summary { cursor: pointer; }
.failures summary:focus-visible { outline: 0.15em solid var(--_accent); outline-offset: 0.15em; border-radius: 0.15em; }
.failures ul { margin: 0.4em 0 0; padding-inline-start: 1.4em; font-size: 0.9em; }
.failures li { overflow-wrap: anywhere; }
.reason { color: var(--_muted); }

.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@container (max-width: 22rem) {
  .remaining { margin-inline-start: 0; flex-basis: 100%; }
  .remaining:empty { display: none; }
}
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; }
}
@media (forced-colors: active) {
  .bar { border: 1px solid CanvasText; }
  .fill { background: Highlight; forced-color-adjust: none; }
  .failed, .mark { forced-color-adjust: none; }
}
`;
