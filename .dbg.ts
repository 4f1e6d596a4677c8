import { silentLogger } from './src/common/log.js';
const l = silentLogger as any;
for (const k of ['warn','error','info','debug']) if (process.argv.includes('--log-'+k)) l[k] = (o: any, m: any) => console.log('LOG', k, m, JSON.stringify(o));
import { runSeed } from './test/sim/run.js';
const seed = Number(process.argv[2]);
const r = await runSeed({ seed, steps: 1000, snapshots: true, onTrace: process.argv.includes('--trace') ? (t) => console.log(t) : () => {} });
console.log(r.violation, r.virtualMs);
