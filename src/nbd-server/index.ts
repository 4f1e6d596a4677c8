export { NBD_LIMITS, NBD_PORT } from './constants.js';
export type { ExportSource } from './exports.js';
export type { ExportName } from './handshake.js';
export type { ExportFacts } from './handshake-codec.js';
export type { PhaseLimits } from './phase-context.js';
export { NbdServer, type NbdServerOptions, type NbdServerStats } from './server.js';
export type { ExportStats, OpStats } from './stats.js';
export { nbdUri } from './uri.js';
