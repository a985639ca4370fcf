'use strict';

exports.VERSION = '0.1.0';
exports.SCOPE = 'o2_lambda';
