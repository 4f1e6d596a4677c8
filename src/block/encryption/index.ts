export { CIPHER_SECTOR_BYTES, DATA_KEY_BYTES, XtsCipher } from './cipher.js';
export { CipheredRequests, type CipherTarget } from './requests.js';
