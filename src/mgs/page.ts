import { createHash } from 'node:crypto';
import { formatSizeBytes } from '../common/units.js';
import { type Health, ROLES, type ServerStatus } from './registry.js';

/** All that the status page shows. */
export interface ClusterView {
  readonly clusterId: string;
  readonly version: string;
  readonly nowWallMs: number;
  readonly servers: readonly ServerStatus[];
}

const STYLE = `
:root{color-scheme:light dark;--bg:#fbfbfa;--fg:#1d2125;--muted:#5b636b;--line:#dfe2e5;--card:#fff;
--up:#1a6b3c;--late:#8a5a00;--down:#b3261e}
@media(prefers-color-scheme:dark){:root{--bg:#14171a;--fg:#e6e8ea;--muted:#a3abb3;--line:#30363c;--card:#1b1f23;
--up:#6fcf97;--late:#f0b95a;--down:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:2rem 1.25rem;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}
p.sub{margin:.25rem 0 1.5rem;color:var(--muted);overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:1rem;margin:0}
dl div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem}
dt{color:var(--muted);font-size:.85rem}dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}
dd small{font-size:.85rem;color:var(--muted)}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.5rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.6rem 1rem;color:var(--muted);font-size:.85rem}
th,td{text-align:left;padding:.5rem 1rem;border-top:1px solid var(--line);white-space:nowrap;font-weight:400}
thead th{font-size:.85rem;color:var(--muted)}
code{font:.85rem ui-monospace,monospace}
.health{font-weight:600}.up{color:var(--up)}.late{color:var(--late)}.down{color:var(--down)}
meter{width:7rem;vertical-align:middle}
footer{margin-top:2rem;color:var(--muted);font-size:.85rem}a{color:inherit}
`;

/** Puts fresh contents in place every few seconds, unless somebody is reading or selecting there. */
const SCRIPT = `
setInterval(async()=>{
const main=document.querySelector('main');
if(document.hidden||String(getSelection())!==''||main.contains(document.activeElement))return;
try{const answer=await fetch(location.href);
const page=new DOMParser().parseFromString(await answer.text(),'text/html');
main.replaceWith(page.querySelector('main'));document.title=page.title}
catch{document.title='(no answer) Rawstor'}
},5000)
`;

/** Nothing from elsewhere, no script and no style but the page's own. */
export const PAGE_POLICY = [
  "default-src 'none'",
  `style-src 'sha256-${sha256(STYLE)}'`,
  `script-src 'sha256-${sha256(SCRIPT)}'`,
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

const SIGNS: Record<Health, string> = { up: '●', late: '◐', down: '○' };
const TITLES: Record<string, string> = {
  mds: 'Metadata servers',
  ost: 'Storage targets',
  nbd: 'NBD gateways',
  mount: 'Mounts',
};

export function renderPage(view: ClusterView): string {
  const summary = summaryOf(view.servers);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(summary)} – Rawstor</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Rawstor cluster: ${escapeHtml(summary)}</h1>
<p class="sub">Cluster <code>${escapeHtml(view.clusterId || 'not known yet: no metadata server has registered')}</code></p>
${figures(view)}
${ROLES.map((role) => section(view, role)).join('\n')}
<footer>As of <time datetime="${iso(view.nowWallMs)}">${iso(view.nowWallMs)}</time>, rawstor ${escapeHtml(view.version)}.
Also as <a href="status.json">JSON</a> and <a href="metrics">metrics</a>.</footer>
</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

/** "all servers up", or how many are not. */
export function summaryOf(servers: readonly ServerStatus[]): string {
  if (servers.length === 0) return 'no server has registered';
  const down = servers.filter((s) => s.health === 'down').length;
  const late = servers.filter((s) => s.health === 'late').length;
  if (down + late === 0) return 'all servers up';
  return [down > 0 ? `${down} down` : '', late > 0 ? `${late} late` : ''].filter((t) => t !== '').join(', ');
}

function figures(view: ClusterView): string {
  const osts = view.servers.filter((s) => s.role === 'ost');
  const up = view.servers.filter((s) => s.health === 'up').length;
  const capacityBytes = sum(osts, (s) => s.capacityBytes);
  const freeBytes = sum(osts, (s) => s.freeBytes);
  const cards = [
    ['Servers up', `${up} <small>of ${view.servers.length}</small>`],
    ['Capacity', formatSizeBytes(capacityBytes)],
    ['Used', formatSizeBytes(capacityBytes - freeBytes)],
    ['Free', formatSizeBytes(freeBytes)],
  ];
  const shown = cards.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`);
  return `<dl>${shown.join('')}</dl>`;
}

function section(view: ClusterView, role: string): string {
  const servers = view.servers.filter((s) => s.role === role);
  if (servers.length === 0 && (role === 'nbd' || role === 'mount')) return '';
  const title = TITLES[role]!;
  if (servers.length === 0) return `<h2>${title}</h2><p>None has registered.</p>`;
  const space = role === 'ost';
  const heads = ['Health', 'Host', 'Id', ...(space ? ['Used', 'Free'] : []), 'Addresses', 'Last heard'];
  const head = heads.map((text) => `<th scope="col">${text}</th>`).join('');
  const rows = servers.map((server) => row(server, view.nowWallMs, space)).join('\n');
  return `<h2>${title}</h2>
<div class="scroll" tabindex="0" role="region" aria-label="${title}"><table>
<caption>${servers.length} known, ${servers.filter((s) => s.health === 'up').length} up</caption>
<thead><tr>${head}</tr></thead>
<tbody>
${rows}
</tbody></table></div>`;
}

function row(server: ServerStatus, nowWallMs: number, space: boolean): string {
  const { health, labels, addresses, waitsFor, mount } = server;
  const waits = waitsFor === undefined || health === 'down' ? '' : `, waits for ${escapeHtml(waitsFor)}`;
  const others = Object.entries(labels).filter(([name]) => name !== 'host');
  const host = [labels.host ?? '–', ...others.map(([name, value]) => `${name}=${value}`)].join(' ');
  const cells = [
    `<td class="health ${health}"><span aria-hidden="true">${SIGNS[health]}</span> ${health}${waits}</td>`,
    `<td>${escapeHtml(host)}</td>`,
    `<th scope="row"><code>${escapeHtml(server.id)}</code></th>`,
    ...(space ? spaceCells(server) : []),
    `<td><code>${(mount === undefined ? addresses : [mount.directory]).map(escapeHtml).join('<br>')}</code></td>`,
    `<td><time datetime="${iso(server.lastSeenWallMs)}">${ago(nowWallMs - server.lastSeenWallMs)}</time></td>`,
  ];
  return `<tr>${cells.join('')}</tr>`;
}

function spaceCells({ id, capacityBytes, freeBytes }: ServerStatus): string[] {
  const usedBytes = Math.max(0, capacityBytes - freeBytes);
  const percent = capacityBytes === 0 ? 0 : Math.round((usedBytes / capacityBytes) * 100);
  const name = `Space used of ${escapeHtml(id)}`;
  const meter = `<meter min="0" max="100" low="80" high="95" optimum="0" value="${percent}" aria-label="${name}">${percent} %</meter>`;
  return [
    `<td>${meter} ${percent} %</td>`,
    `<td>${formatSizeBytes(freeBytes)} of ${formatSizeBytes(capacityBytes)}</td>`,
  ];
}

/** A clock that was set back shows as just now, not as the future. */
function ago(silentMs: number): string {
  const seconds = Math.max(0, Math.round(silentMs / 1000));
  if (seconds < 120) return `${seconds} s ago`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

function iso(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

function sum(servers: readonly ServerStatus[], value: (server: ServerStatus) => number): number {
  return servers.reduce((total, server) => total + value(server), 0);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
