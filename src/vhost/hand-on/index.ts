export type { DeviceState } from './device-state.js';
export { Giver, type Handable } from './giver.js';
export { exportSession, importSession, taken } from './session-state.js';
export { type TakenDevice, takeDevice } from './taker.js';
