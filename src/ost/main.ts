#!/usr/bin/env node
import { main, RAWSTOR_OST } from '../cli/index.js';

await main(RAWSTOR_OST);
