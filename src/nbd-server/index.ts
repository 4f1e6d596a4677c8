export { NBD_LIMITS, NBD_PORT } from './constants.js';
export type { ExportSource } from './exports.js';
export type { ExportFacts, ExportName } from './handshake.js';
export type { PhaseLimits } from './phase.js';
export { NbdServer, type NbdServerOptions, type NbdServerStats } from './server.js';
export type { ExportStats, OpStats } from './stats.js';
export { nbdUri } from './uri.js';
