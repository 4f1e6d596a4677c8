export { main } from './program.js';
export { RAWSTOR_MDS, RAWSTOR_MGS, RAWSTOR_NBD, RAWSTOR_OST } from './programs.js';
