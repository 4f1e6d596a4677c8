export { CAPABILITIES } from './capabilities.js';
export { Giver, type TakenDevice, takeDevice } from './hand-on/index.js';
export { VhostServer, type VhostServerOptions } from './server.js';
